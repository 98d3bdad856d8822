// The pixels of one tile while splats run over it, and the vector blocks of pixels that a splat covers.
//
// A vector holds two rows of LANES / 2 columns, row by row interleaved: small splats fill such a block better than one long row.
// A tile's memory is pairs of rows; each pair holds one plane after the other (transmittance, colours, ...), so all that a block
// needs lies close together.
#pragma once
#include "binning.h"

namespace gen3d {

constexpr int MAX_TILE = 64;
constexpr int COLUMNS = LANES / 2;
constexpr int PLANE = 2 * (MAX_TILE + COLUMNS);  // floats of one plane of one pair of rows; blocks may stick out on the right
constexpr int MAX_BLOCKS = MAX_TILE / 2 * (MAX_TILE / COLUMNS + 1) + 2 * LANES;  // of one splat, with room for a whole last vector
constexpr int BATCH = 32;           // splats whose blocks are listed ahead: their long latencies overlap
constexpr int BATCH_BLOCKS = 1024;  // ... or fewer, when they are large
constexpr int PREFETCH = 16;        // records that are fetched ahead of listing
constexpr int USED_UP_EVERY = 8;    // batches between two looks whether a tile can take more

struct LanePattern {
  float column[LANES], row[LANES], even[LANES];
  constexpr LanePattern() : column(), row(), even() {
    for (int i = 0; i < LANES; i++) column[i] = static_cast<float>(i / 2), row[i] = static_cast<float>(i % 2), even[i] = 1.0f - row[i];
  }
};
alignas(64) constexpr LanePattern PATTERN{};

struct TileArea {
  int left, top, width, height;  // pixels inside the image

  TileArea(const Frame& frame, const Gen3dView& view, int index) {
    left = index % frame.tile_columns * frame.tile, top = index / frame.tile_columns * frame.tile;
    width = std::min(frame.tile, view.width - left), height = std::min(frame.tile, view.height - top);
  }
};

template <int PLANES>
struct TileMemory {
  static constexpr int PAIR = PLANES * PLANE;  // floats of a pair of rows
  alignas(64) float values[MAX_TILE / 2 * PAIR];

  float* plane_row(int plane, int row) { return values + (row / 2) * PAIR + plane * PLANE + row % 2; }  // then 2 * column

  // Zero, with transmittance (plane 0) one inside the image: what lies outside counts as used up.
  void clear(const TileArea& area) {
    const int pairs = (area.height + 1) / 2;
    std::fill_n(values, pairs * PAIR, 0.0f);
    for (int row = 0; row < area.height; row++) {
      float* line = plane_row(0, row);
      for (int column = 0; column < area.width; column++) line[2 * column] = 1.0f;
    }
  }

  bool used_up(const TileArea& area) const {
    Float most = broadcast(-1.0f);
    for (int pair = 0; pair < (area.height + 1) / 2; pair++)
      for (int i = 0; i < 2 * area.width; i += LANES) most = max(most, load(values + pair * PAIR + i));
    return !any(broadcast(0.0f) < most);
  }
};

// Blocks that splats cover: position of the first pixel relative to the splat's centre, and where that lies in the tile's memory.
struct Blocks {
  alignas(64) float dx[BATCH_BLOCKS + MAX_BLOCKS], dy[BATCH_BLOCKS + MAX_BLOCKS];
  alignas(64) int32_t offset[BATCH_BLOCKS + MAX_BLOCKS];
};

// Append the blocks where alpha may reach alpha_min, by solving the ellipse for each row. Returns the new length of the list.
template <int PLANES, int CHANNELS>
GEN3D_INLINE int list_blocks(const Record<CHANNELS>& splat, const TileArea& area, float log2_alpha_min, Blocks& out, int found) {
  const float x = splat.x - (area.left + 0.5f), y = splat.y - (area.top + 0.5f);  // the centre, counted in pixels of the tile
  const int first = std::max(splat.row_begin - area.top, 0) & ~1, last = std::min(splat.row_end - area.top, area.height) - 1;
  const Float inverse_across = broadcast(-1.0f / splat.across), room = broadcast(splat.log2_opacity - log2_alpha_min);
  const Float width = broadcast(static_cast<float>(area.width)), never = broadcast(1e6f), even = load(PATTERN.even);
  for (int base = first; base <= last; base += LANES) {
    const Float row = lane_numbers() + static_cast<float>(base), dy = row - y;
    const Float squared = fma(broadcast(splat.along), dy * dy, room) * inverse_across;
    const Mask inside = (broadcast(0.0f) < squared) & (row <= broadcast(static_cast<float>(last)));
    const Float half = sqrt(squared) + 1e-3f, centre = x - broadcast(splat.shear) * dy;
    Float begin = select(inside, max(ceil(centre - half), broadcast(0.0f)), never);
    Float end = select(inside, min(floor(centre + half) + 1.0f, width), -never);
    begin = min(begin, swap_pairs(begin)), end = max(end, swap_pairs(end));
    Mask more = (begin < end) & (broadcast(0.0f) < even);
    Float offset = fma(row, broadcast(PLANES * PLANE / 2.0f), begin + begin), dx = begin - x;
    const auto append = [&] {
      store(out.dx + found, compress(more, dx));
      store(out.dy + found, compress(more, dy));
      store_truncated(out.offset + found, compress(more, offset));
      found += count(more);
      begin += broadcast(COLUMNS), dx += broadcast(COLUMNS), offset += broadcast(2 * COLUMNS);
      more = more & (begin < end);
    };
    append();
    append();  // needed or not: cheaper than a branch that nobody can predict
    while (any(more)) append();
  }
  return found;
}

// What a splat does to the transmittance of one block of pixels.
struct Touch {
  Float u, dy;
  Float raw_alpha, alpha, weight, after;
  Mask blended, stopped;
};

struct Limits {
  Float log2_alpha_min, alpha_max, transmittance_min;
  explicit Limits(const Gen3dSettings& settings)
      : log2_alpha_min(broadcast(std::log2(settings.alpha_min))),
        alpha_max(broadcast(settings.alpha_max)),
        transmittance_min(broadcast(settings.transmittance_min)) {}
};

// A pixel that has stopped keeps its transmittance with a minus sign.
template <int CHANNELS>
GEN3D_INLINE Touch touch(const Record<CHANNELS>& splat, const Blocks& blocks, int block, const Limits& limits, Float before) {
  Touch t;
  t.dy = load(PATTERN.row) + broadcast(blocks.dy[block]);
  t.u = fma(broadcast(splat.shear), t.dy, load(PATTERN.column) + broadcast(blocks.dx[block]));
  const Float base = fma(broadcast(splat.along), t.dy * t.dy, broadcast(splat.log2_opacity));
  const Float power = fma(broadcast(splat.across) * t.u, t.u, base);
  t.raw_alpha = exp2(power);
  t.alpha = min(t.raw_alpha, limits.alpha_max);
  t.weight = t.alpha * before;
  const Float left = before - t.weight;
  const Mask touched = (limits.log2_alpha_min <= power) & (broadcast(0.0f) < before), goes_on = limits.transmittance_min < left;
  t.blended = touched & goes_on;
  t.stopped = and_not(touched, goes_on);
  t.weight = keep(t.blended, t.weight);
  t.after = flip_sign(t.stopped, before - t.weight);
  return t;
}

template <int CHANNELS>
GEN3D_INLINE void prefetch(const Record<CHANNELS>& record) {  // it may lie on two cache lines
  __builtin_prefetch(&record);
  __builtin_prefetch(&record.depth_bits);
}

// Call visit(splat, place, blocks, begin, end) for splats from front to back until the tile is used up. Returns how many there were.
template <int PLANES, int CHANNELS, class Visit>
GEN3D_INLINE int walk(const Record<CHANNELS>* records, const int32_t* order, int count, const TileArea& area, float log2_alpha_min,
                      const TileMemory<PLANES>& tile, const Visit& visit) {
  Blocks blocks;
  int done = 0;
  for (int batch = 1; done < count; batch++) {
    int begin[BATCH + 1], size = 0;
    begin[0] = 0;
    while (size < BATCH && done + size < count && begin[size] < BATCH_BLOCKS) {
      prefetch(records[order[std::min(done + size + PREFETCH, count - 1)]]);
      begin[size + 1] = list_blocks<PLANES>(records[order[done + size]], area, log2_alpha_min, blocks, begin[size]);
      size++;
    }
    for (int i = 0; i < size; i++) {
      const int place = order[done + i];
      visit(records[place], place, blocks, begin[i], begin[i + 1]);
    }
    done += size;
    if (batch % USED_UP_EVERY == 0 && tile.used_up(area)) break;
  }
  return done;
}

}  // namespace gen3d
