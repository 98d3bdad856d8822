// Last step of the forward pass: splats are laid over each tile from front to back.
#pragma once
#include "tiles.h"

namespace gen3d {

template <int CHANNELS, bool MEDIAN>
void blend_tile(const Record<CHANNELS>* records, const int32_t* order, int count, const TileArea& area, Limits limits,
                float log2_alpha_min, TileMemory<1 + CHANNELS + MEDIAN>& tile) {
  const auto lay = [&tile, limits](const Record<CHANNELS> splat, int, const Blocks& blocks, int begin, int end) {
    for (int block = begin; block < end; block++) {
      float* pixel = tile.values + blocks.offset[block];
      const Float before = load(pixel);
      const Touch t = touch(splat, blocks, block, limits, before);
      store(pixel, t.after);
      for (int c = 0; c < CHANNELS; c++) {
        float* plane = pixel + (1 + c) * PLANE;
        store(plane, fma(t.weight, broadcast(splat.channels[c]), load(plane)));
      }
      if constexpr (MEDIAN) {
        float depth;
        std::memcpy(&depth, &splat.depth_bits, sizeof depth);
        float* plane = pixel + (1 + CHANNELS) * PLANE;
        const Mask crosses = t.blended & (broadcast(0.5f) < before) & (t.after <= broadcast(0.5f));
        store(plane, select(crosses, broadcast(depth), load(plane)));
      }
    }
  };
  walk(records, order, count, area, log2_alpha_min, tile, lay);
}

template <int FEATURES, bool MEDIAN>
void blend(const Gen3dView& view, const Gen3dSettings& settings, Frame& frame, const Gen3dImages& images, int threads) {
  constexpr int CHANNELS = 3 + FEATURES;
  const Limits limits(settings);
  const float log2_alpha_min = std::log2(settings.alpha_min);
  const auto* records = reinterpret_cast<const Record<CHANNELS>*>(frame.records.data());
  const int32_t* tile_begin = frame.tile_begin.data();
  int32_t* order = frame.order.data();
  float* transmittance = frame.transmittance.reserve(static_cast<size_t>(view.width) * view.height);

  Pool::shared().run(frame.tiles(), threads, [&](int index) {
    TileMemory<1 + CHANNELS + MEDIAN> tile;
    const TileArea area(frame, view, index);
    const int begin = tile_begin[index], count = tile_begin[index + 1] - begin;
    SortBuffers buffers;
    sort_by_depth(records + begin, count, order + begin, buffers);
    tile.clear(area);
    blend_tile<CHANNELS, MEDIAN>(records + begin, order + begin, count, area, limits, log2_alpha_min, tile);
    for (int row = 0; row < area.height; row++)
      for (int column = 0; column < area.width; column++) {
        const size_t pixel = static_cast<size_t>(area.top + row) * view.width + area.left + column;
        const float left = std::fabs(tile.plane_row(0, row)[2 * column]);
        transmittance[pixel] = left;
        images.alpha[pixel] = 1.0f - left;
        for (int c = 0; c < 3; c++) images.rgb[3 * pixel + c] = tile.plane_row(1 + c, row)[2 * column] + left * view.background[c];
        for (int c = 0; c < FEATURES; c++) images.features[FEATURES * pixel + c] = tile.plane_row(4 + c, row)[2 * column];
        if (MEDIAN) images.median_depth[pixel] = tile.plane_row(1 + CHANNELS, row)[2 * column];
      }
  });
}

}  // namespace gen3d
