// First step of the forward pass: splats become records on the screen, with the tiles they touch counted.
#pragma once
#include "geometry.h"
#include "harmonics.h"
#include "pool.h"
#include "state.h"

namespace gen3d {

constexpr float LOG2E = 1.4426950408889634f;
constexpr float LN2 = 0.6931471805599453f;
constexpr float LARGEST_RADIUS = 1e9f;  // pixels; keeps int32 radii from overflowing

GEN3D_INLINE int64_t chunk_begin(int64_t count, int chunk) {
  const int64_t blocks = (count + LANES - 1) / LANES;
  return std::min(count, blocks * chunk / CHUNKS * LANES);
}

// Unit vectors from the camera to the splats, and 1 / distance.
GEN3D_INLINE Float viewing_directions(const Camera& camera, const Float mean[3], Float direction[3]) {
  for (int j = 0; j < 3; j++) direction[j] = mean[j] - camera.position[j];
  const Float inverse = broadcast(1.0f) / max(broadcast(1e-12f), sqrt(dot3(direction, direction)));
  for (int j = 0; j < 3; j++) direction[j] = direction[j] * inverse;
  return inverse;
}

template <int COEFFICIENTS>
GEN3D_INLINE void add_harmonics(const float* sh, const float (*basis)[LANES], int lane, float colour[3]) {
  for (int c = 0; c < 3; c++) colour[c] = 0.5f;
  for (int k = 0; k < COEFFICIENTS; k++)
    for (int c = 0; c < 3; c++) colour[c] += basis[k][lane] * sh[3 * k + c];
}

// A block of splats on the screen, with the box of pixels of each.
struct ScreenBlock {
  alignas(64) float x[LANES], y[LANES], depth[LANES], across[LANES], shear[LANES], along[LANES], log2_opacity[LANES];
  alignas(64) float begin_x[LANES], end_x[LANES], begin_y[LANES], end_y[LANES], radius_x[LANES], radius_y[LANES];
  alignas(64) float visible[LANES];  // 1 or 0
};

GEN3D_INLINE void place_on_screen(const Camera& camera, const Gen3dSplats& splats, const Gen3dView& view, const Gen3dSettings& settings,
                                  const Geometry& g, int64_t first, int filled, ScreenBlock& out) {
  alignas(64) float logs[LANES];
  for (int i = 0; i < LANES; i++) logs[i] = std::log2(splats.opacities[first + std::min(i, filled - 1)]);
  Float log2_opacity = load(logs);
  if (settings.antialias) {
    alignas(64) float ratio[LANES];
    store(ratio, g.sharp_determinant / g.determinant);
    for (int i = 0; i < LANES; i++) ratio[i] = 0.5f * std::log2(ratio[i]);
    log2_opacity += load(ratio);
  }
  Float x = g.screen_x(camera), y = g.screen_y(camera);
  if (view.screen_offsets != nullptr) {
    Float offset[2];
    load_interleaved<2>(view.screen_offsets + 2 * first, filled, offset);
    x += offset[0], y += offset[1];
  }
  // The ellipse on which alpha falls to alpha_min has half sizes sqrt(reach c00) and sqrt(reach c11).
  const Float reach = 2.0f * LN2 * (log2_opacity - std::log2(settings.alpha_min));
  const Float radius_x = sqrt(reach * g.c00), radius_y = sqrt(reach * g.c11);
  const Float zero = broadcast(0.0f), half = broadcast(0.5f), huge = broadcast(1e30f);
  const Float whole_x = ceil(radius_x), whole_y = ceil(radius_y);
  const Float width = broadcast(static_cast<float>(camera.width)), height = broadcast(static_cast<float>(camera.height));
  const Float conditional = g.determinant / g.c11;  // variance of x where y is known
  // Ordered comparisons are false for NaN, so a splat with any non-finite value is not visible.
  Mask visible = (broadcast(settings.near_depth) <= g.t[2]) & (g.t[2] <= broadcast(settings.far_depth)) & (zero < reach) & (reach < huge);
  visible = visible & (zero < conditional) & (conditional < huge) & (g.c00 < huge) & (g.c11 < huge);
  visible = visible & (zero < x + whole_x) & (x - whole_x < width) & (zero < y + whole_y) & (y - whole_y < height);
  visible = visible & (g.quat_inverse_norm < broadcast(1e12f)) & (whole_x < huge) & (whole_y < huge);

  store(out.x, x), store(out.y, y), store(out.depth, g.t[2]);
  store(out.across, (-0.5f * LOG2E) * (broadcast(1.0f) / conditional));
  store(out.shear, -(g.c01 / g.c11));
  store(out.along, (-0.5f * LOG2E) * (broadcast(1.0f) / g.c11));
  store(out.log2_opacity, log2_opacity);
  store(out.begin_x, min(max(ceil(x - radius_x - half), zero), width));
  store(out.end_x, min(max(floor(x + radius_x + half), zero), width));
  store(out.begin_y, min(max(ceil(y - radius_y - half), zero), height));
  store(out.end_y, min(max(floor(y + radius_y + half), zero), height));
  store(out.radius_x, whole_x), store(out.radius_y, whole_y);
  store(out.visible, keep(visible, broadcast(1.0f)));
}

template <int FEATURES, int COEFFICIENTS>
void project(const Gen3dSplats& splats, const Gen3dView& view, const Gen3dSettings& settings, Workspace& work, Frame& frame, int32_t* radii,
             int threads) {
  const Camera camera(view, settings);
  const int tiles = frame.tiles(), tile_shift = __builtin_ctz(frame.tile);
  auto* records = reinterpret_cast<Record<3 + FEATURES>*>(work.records.reserve(splats.count * sizeof(Record<3 + FEATURES>)));
  TileBox* boxes = work.boxes.reserve(splats.count);
  int32_t* chunk_counts = work.chunk_counts.reserve(static_cast<size_t>(CHUNKS) * tiles);

  Pool::shared().run(CHUNKS, threads, [&](int chunk) {
    int32_t* counts = chunk_counts + static_cast<size_t>(chunk) * tiles;
    std::fill_n(counts, tiles, 0);
    const int64_t end = chunk_begin(splats.count, chunk + 1);
    for (int64_t first = chunk_begin(splats.count, chunk); first < end; first += LANES) {
      const int filled = static_cast<int>(std::min<int64_t>(LANES, end - first));
      const Geometry geometry(camera, splats, settings.eps2d, first, filled);
      ScreenBlock screen;
      place_on_screen(camera, splats, view, settings, geometry, first, filled, screen);
      alignas(64) float basis[COEFFICIENTS][LANES];
      if constexpr (COEFFICIENTS > 1) {
        Float direction[3], values[COEFFICIENTS];
        viewing_directions(camera, geometry.mean, direction);
        harmonics<COEFFICIENTS>(direction, values);
        for (int k = 0; k < COEFFICIENTS; k++) store(basis[k], values[k]);
      } else {
        store(basis[0], broadcast(SH0));
      }
      for (int i = 0; i < filled; i++) {
        const int64_t splat = first + i;
        boxes[splat] = TileBox{};
        radii[2 * splat] = radii[2 * splat + 1] = 0;
        if (screen.visible[i] == 0) continue;
        Record<3 + FEATURES>& record = records[splat];
        float finite = 0;
        add_harmonics<COEFFICIENTS>(splats.sh + splat * 3 * COEFFICIENTS, basis, i, record.channels);
        for (int c = 0; c < 3; c++) {
          finite += 0.0f * record.channels[c];
          record.channels[c] = std::max(0.0f, record.channels[c]);
        }
        for (int c = 0; c < FEATURES; c++) {
          record.channels[3 + c] = view.features[splat * FEATURES + c];
          finite += 0.0f * record.channels[3 + c];
        }
        if (finite != 0) continue;
        record.x = screen.x[i], record.y = screen.y[i];
        record.across = screen.across[i], record.shear = screen.shear[i], record.along = screen.along[i];
        record.log2_opacity = screen.log2_opacity[i];
        const int left = static_cast<int>(screen.begin_x[i]), right = static_cast<int>(screen.end_x[i]);
        const int top = static_cast<int>(screen.begin_y[i]), bottom = static_cast<int>(screen.end_y[i]);
        record.row_begin = static_cast<uint16_t>(top), record.row_end = static_cast<uint16_t>(bottom);
        std::memcpy(&record.depth_bits, &screen.depth[i], sizeof record.depth_bits);
        radii[2 * splat] = static_cast<int32_t>(std::min(screen.radius_x[i], LARGEST_RADIUS));
        radii[2 * splat + 1] = static_cast<int32_t>(std::min(screen.radius_y[i], LARGEST_RADIUS));
        if (left >= right || top >= bottom) continue;  // between two pixel centres
        const auto tile_of = [tile_shift](int pixel) { return static_cast<uint16_t>(pixel >> tile_shift); };
        const TileBox box{tile_of(left), tile_of(top), static_cast<uint16_t>(tile_of(right - 1) + 1),
                          static_cast<uint16_t>(tile_of(bottom - 1) + 1)};
        boxes[splat] = box;
        for (int row = box.row_begin; row < box.row_end; row++)
          for (int column = box.column_begin; column < box.column_end; column++) counts[row * frame.tile_columns + column]++;
      }
    }
  });
}

}  // namespace gen3d
