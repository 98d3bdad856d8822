// Second step: a copy of each record is dealt to every tile it touches, and each tile orders its copies from front to back.
#pragma once
#include <limits>
#include <vector>

#include "projection.h"

namespace gen3d {

template <int CHANNELS>
void deal_to_tiles(int64_t count, Workspace& work, Frame& frame, int threads) {
  const int tiles = frame.tiles();
  int32_t* places = work.chunk_counts.data();  // counts per (chunk, tile) become the next free place of each
  int32_t* tile_begin = frame.tile_begin.reserve(tiles + 1);
  int32_t slots[CHUNKS] = {};
  int64_t total = 0;
  for (int tile = 0; tile < tiles; tile++) {
    tile_begin[tile] = static_cast<int32_t>(total);
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
      int32_t& place = places[static_cast<size_t>(chunk) * tiles + tile];
      const int32_t here = place;
      place = static_cast<int32_t>(total);
      slots[chunk] += here;
      total += here;
      if (total > std::numeric_limits<int32_t>::max()) throw std::bad_alloc();
    }
  }
  tile_begin[tiles] = static_cast<int32_t>(total);
  for (int chunk = 0, next = 0; chunk < CHUNKS; chunk++) {
    const int here = slots[chunk];
    slots[chunk] = next;
    next += here;
  }
  frame.pairs = total;
  auto* dealt = reinterpret_cast<Record<CHANNELS>*>(frame.records.reserve(total * sizeof(Record<CHANNELS>)));
  const auto* records = reinterpret_cast<const Record<CHANNELS>*>(work.records.data());
  const TileBox* boxes = work.boxes.data();
  frame.order.reserve(total);
  int32_t* slot_place = frame.slot_place.reserve(total);
  int32_t* slot_begin = frame.slot_begin.reserve(count + 1);
  slot_begin[count] = static_cast<int32_t>(total);

  Pool::shared().run(CHUNKS, threads, [&](int chunk) {
    int32_t* next = places + static_cast<size_t>(chunk) * tiles;
    int32_t slot = slots[chunk];
    const int64_t end = chunk_begin(count, chunk + 1);
    for (int64_t splat = chunk_begin(count, chunk); splat < end; splat++) {
      slot_begin[splat] = slot;
      const TileBox box = boxes[splat];
      for (int row = box.row_begin; row < box.row_end; row++)
        for (int column = box.column_begin; column < box.column_end; column++) {
          const int32_t place = next[row * frame.tile_columns + column]++;
          slot_place[slot++] = place;
          dealt[place] = records[splat];
        }
    }
  });
}

// Scratch memory of one sorting thread.
struct SortBuffers {
  std::vector<uint64_t> keys, other;
};

// order[0 .. count): the records by depth, equal depths by place. Positive floats order like their bits, so this is a radix sort.
template <int CHANNELS>
void sort_by_depth(const Record<CHANNELS>* records, int count, int32_t* order, SortBuffers& buffers) {
  if (static_cast<int>(buffers.keys.size()) < count) buffers.keys.resize(count + count / 2), buffers.other.resize(count + count / 2);
  uint64_t *keys = buffers.keys.data(), *other = buffers.other.data();
  uint32_t nearest = 0xffffffffu, farthest = 0;
  for (int i = 0; i < count; i++) {
    nearest = std::min(nearest, records[i].depth_bits);
    farthest = std::max(farthest, records[i].depth_bits);
  }
  for (int i = 0; i < count; i++) keys[i] = static_cast<uint64_t>(records[i].depth_bits - nearest) << 32 | static_cast<uint32_t>(i);
  if (count <= 64) {
    for (int i = 1; i < count; i++) {
      const uint64_t key = keys[i];
      int j = i;
      for (; j > 0 && keys[j - 1] > key; j--) keys[j] = keys[j - 1];
      keys[j] = key;
    }
  } else {
    constexpr int MAX_DIGIT = 12;
    const int bits = farthest > nearest ? 32 - __builtin_clz(farthest - nearest) : 0;
    const int widest = count < 2048 ? 8 : MAX_DIGIT, passes = (bits + widest - 1) / widest;
    const int digit = passes > 0 ? (bits + passes - 1) / passes : 0;
    const uint32_t low = (1u << digit) - 1;
    uint32_t starts[1 << MAX_DIGIT];
    for (int pass = 0, shift = 32; pass < passes; pass++, shift += digit) {
      std::fill_n(starts, low + 1, 0u);
      for (int i = 0; i < count; i++) starts[keys[i] >> shift & low]++;
      for (uint32_t d = 0, next = 0; d <= low; d++) {
        const uint32_t here = starts[d];
        starts[d] = next;
        next += here;
      }
      for (int i = 0; i < count; i++) other[starts[keys[i] >> shift & low]++] = keys[i];
      std::swap(keys, other);
    }
  }
  for (int i = 0; i < count; i++) order[i] = static_cast<int32_t>(static_cast<uint32_t>(keys[i]));
}

}  // namespace gen3d
