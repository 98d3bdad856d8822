// What a call keeps: a frame lives from the forward to the backward pass of one view, a workspace only during a pass.
// Both keep their memory for the next call, because fresh pages cost more than the arithmetic on them.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <new>

namespace gen3d {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // Room for `count` values; what was there is lost when it has to grow.
  T* reserve(size_t count) {
    if (count > capacity_) {
      std::free(data_);
      data_ = nullptr;
      capacity_ = 0;
      const size_t room = count + count / 8;
      data_ = static_cast<T*>(std::aligned_alloc(64, (room * sizeof(T) + 127) / 64 * 64));
      if (data_ == nullptr) throw std::bad_alloc();
      capacity_ = room;
    }
    return data_;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }

 private:
  T* data_ = nullptr;
  size_t capacity_ = 0;
};

constexpr int CHUNKS = 32;  // splats are cut into this many parts whatever the number of threads, so that sums have one order

// A splat as the tiles see it. With u = dx + shear dy, log2(alpha) = log2_opacity + across u² + along dy²: a form without the
// cancellation of the usual a dx² + b dx dy + c dy².
template <int CHANNELS>
struct alignas(16) Record {
  float x, y;
  float across, shear, along, log2_opacity;
  float channels[CHANNELS];
  uint16_t row_begin, row_end;
  uint32_t depth_bits;
};

struct TileBox {
  uint16_t column_begin, row_begin, column_end, row_end;
  int32_t tiles() const { return (column_end - column_begin) * (row_end - row_begin); }
};

// Gradient sums of one (tile, splat) pair: of alpha times u and dy to the powers 0 to 2, then of each channel, then magnitudes of the
// pull on the centre along x and y, where they are asked for.
enum Moment { M_ONE, M_U, M_DY, M_UU, M_UDY, M_DYDY, MOMENTS };
constexpr int MAGNITUDES = 2;
constexpr int slot_size(int channels) { return (MOMENTS + channels + MAGNITUDES + 3) / 4 * 4; }

struct Frame {
  int tile = 0, tile_columns = 0, tile_rows = 0;
  int64_t pairs = 0;
  Buffer<int32_t> slot_begin;     // per splat: its first entry in slot_place
  Buffer<int32_t> slot_place;     // per (splat, tile): its place in the tile lists
  Buffer<int32_t> tile_begin;     // per tile: its first place
  Buffer<char> records;           // Record<CHANNELS> per place
  Buffer<int32_t> order;          // per place: front-to-back permutation inside the tile
  Buffer<float> transmittance;    // per pixel, at the end

  int tiles() const { return tile_columns * tile_rows; }
};

struct Workspace {
  Buffer<char> records;          // Record<CHANNELS> per splat, before they are dealt to the tiles
  Buffer<TileBox> boxes;         // per splat
  Buffer<int32_t> chunk_counts;  // per (chunk, tile)
  Buffer<float> slots;           // gradient sums per place
  Buffer<double> partial;        // sums per tile or chunk
};

}  // namespace gen3d
