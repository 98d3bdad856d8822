// First step of the backward pass: each tile goes through its splats from front to back again and sums their gradients.
//
// With v the gradient of a pixel, alpha_i of splat i gets dL/dlog(alpha_i) = w_i (v . c_i) - behind_i alpha_i / (1 - alpha_i), where
// behind_i = v . (colour that lies behind splat i). Behind starts as v . picture and falls by w_i (v . c_i), so neither a list of
// splats per pixel nor a second direction is needed.
#pragma once
#include "blend.h"

namespace gen3d {

template <int CHANNELS, bool ABSGRAD>
void blend_tile_backward(const Record<CHANNELS>* records, const int32_t* order, int count, const TileArea& area, Limits limits,
                         float log2_alpha_min, TileMemory<2 + CHANNELS>& tile, float* slots) {
  constexpr int SLOT = slot_size(CHANNELS), SUMS = MOMENTS + CHANNELS + (ABSGRAD ? MAGNITUDES : 0);
  const auto gather = [&tile, limits, slots](const Record<CHANNELS> splat, int place, const Blocks& blocks, int begin, int end) {
    float* slot = slots + static_cast<size_t>(place) * SLOT;
    __builtin_prefetch(slot, 1);
    Float sums[SUMS];
    for (Float& s : sums) s = broadcast(0.0f);
    for (int block = begin; block < end; block++) {
      float* pixel = tile.values + blocks.offset[block];
      const Touch t = touch(splat, blocks, block, limits, load(pixel));
      store(pixel, t.after);
      Float along_colour = broadcast(0.0f);
      for (int c = 0; c < CHANNELS; c++) {
        const Float v = load(pixel + (2 + c) * PLANE);
        along_colour = fma(v, broadcast(splat.channels[c]), along_colour);
        sums[MOMENTS + c] = fma(t.weight, v, sums[MOMENTS + c]);
      }
      const Float own = t.weight * along_colour;
      const Float behind = load(pixel + PLANE) - own;
      store(pixel + PLANE, behind);
      // The clamp at alpha_max passes no gradient.
      const Float v = keep(t.blended & (t.raw_alpha < limits.alpha_max), own - behind * (t.alpha * reciprocal(1.0f - t.alpha)));
      const Float v_u = v * t.u, v_dy = v * t.dy;
      sums[M_ONE] += v, sums[M_U] += v_u, sums[M_DY] += v_dy;
      sums[M_UU] = fma(v_u, t.u, sums[M_UU]);
      sums[M_UDY] = fma(v_u, t.dy, sums[M_UDY]);
      sums[M_DYDY] = fma(v_dy, t.dy, sums[M_DYDY]);
      if constexpr (ABSGRAD) {
        const Float pull_x = broadcast(splat.across) * v_u;
        const Float pull_y = fma(broadcast(splat.shear), pull_x, broadcast(splat.along) * v_dy);
        sums[MOMENTS + CHANNELS] += abs(pull_x), sums[MOMENTS + CHANNELS + 1] += abs(pull_y);
      }
    }
    sum_each<SUMS>(sums, slot);
  };
  const int done = walk(records, order, count, area, log2_alpha_min, tile, gather);
  for (int i = done; i < count; i++) std::fill_n(slots + static_cast<size_t>(order[i]) * SLOT, SLOT, 0.0f);
}

// Fills the gradient sums of every place, and dL/d background.
template <int FEATURES>
void blend_backward(const Gen3dView& view, const Gen3dSettings& settings, const Frame& frame, const Gen3dImageGradients& images,
                    Workspace& work, float* v_background, bool absgrad, int threads) {
  constexpr int CHANNELS = 3 + FEATURES;
  const Limits limits(settings);
  const float log2_alpha_min = std::log2(settings.alpha_min);
  const auto* records = reinterpret_cast<const Record<CHANNELS>*>(frame.records.data());
  const int32_t* tile_begin = frame.tile_begin.data();
  const float* transmittance = frame.transmittance.data();
  float* slots = work.slots.reserve(static_cast<size_t>(frame.pairs) * slot_size(CHANNELS));
  const auto blend_tile = absgrad ? blend_tile_backward<CHANNELS, true> : blend_tile_backward<CHANNELS, false>;
  double* background_sums = work.partial.reserve(3 * static_cast<size_t>(frame.tiles()));

  Pool::shared().run(frame.tiles(), threads, [&](int index) {
    TileMemory<2 + CHANNELS> tile;
    const TileArea area(frame, view, index);
    tile.clear(area);
    float through[3] = {0, 0, 0};
    for (int row = 0; row < area.height; row++)
      for (int column = 0; column < area.width; column++) {
        const size_t pixel = static_cast<size_t>(area.top + row) * view.width + area.left + column;
        float behind = -images.v_alpha[pixel] * transmittance[pixel];
        for (int c = 0; c < 3; c++) {
          const float v = images.v_rgb[3 * pixel + c];
          tile.plane_row(2 + c, row)[2 * column] = v;
          behind += v * images.rgb[3 * pixel + c];
          through[c] += v * transmittance[pixel];
        }
        for (int c = 0; c < FEATURES; c++) {
          const float v = images.v_features[FEATURES * pixel + c];
          tile.plane_row(5 + c, row)[2 * column] = v;
          behind += v * images.features[FEATURES * pixel + c];
        }
        tile.plane_row(1, row)[2 * column] = behind;
      }
    for (int c = 0; c < 3; c++) background_sums[3 * index + c] = through[c];
    const int begin = tile_begin[index];
    blend_tile(records + begin, frame.order.data() + begin, tile_begin[index + 1] - begin, area, limits, log2_alpha_min, tile,
               slots + static_cast<size_t>(begin) * slot_size(CHANNELS));
  });
  double total[3] = {0, 0, 0};
  for (int index = 0; index < frame.tiles(); index++)
    for (int c = 0; c < 3; c++) total[c] += background_sums[3 * index + c];
  for (int c = 0; c < 3; c++) v_background[c] = static_cast<float>(total[c]);
}

}  // namespace gen3d
