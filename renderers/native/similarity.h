// L1 and SSIM of pictures (Wang et al. 2004, with the 11x11 Gaussian window and zero padding of 3D Gaussian splatting) and their
// gradient. Separable, one band of rows per task; sums are made per band and then in order, so any number of threads agrees.
#pragma once
#include <algorithm>
#include <vector>

#include "pool.h"
#include "simd.h"

namespace gen3d {

constexpr int RADIUS = 5;
constexpr int TAPS = 2 * RADIUS + 1;
constexpr int COLOURS = 3;
constexpr int MAPS = 3;  // derivatives of SSIM by the blurred image, its blurred square and the blurred product
constexpr int BAND = 32;
constexpr float C1 = 0.01f * 0.01f, C2 = 0.03f * 0.03f;

struct Window {
  float weight[TAPS];
  Window() {
    double total = 0, raw[TAPS];
    for (int i = 0; i < TAPS; i++) total += raw[i] = std::exp(-(i - RADIUS) * (i - RADIUS) / (2 * 1.5 * 1.5));
    for (int i = 0; i < TAPS; i++) weight[i] = static_cast<float>(raw[i] / total);
  }
};

// Rows of interleaved colours with room for the window on both sides and a vector at the end.
constexpr int PAD = RADIUS * COLOURS;
inline int64_t padded(int64_t width) { return COLOURS * width + 2 * PAD + 2 * LANES; }

GEN3D_INLINE Float blur_row(const float* padded_row, int64_t i, const Window& window) {
  Float total = broadcast(window.weight[0]) * load(padded_row + i);
  for (int k = 1; k < TAPS; k++) total = fma(broadcast(window.weight[k]), load(padded_row + i + COLOURS * k), total);
  return total;
}

// The four things that get blurred: image, target, sum of squares and product.
inline void prepare(const float* a, const float* b, int64_t size, float* const* line) {
  float *__restrict line_a = line[0], *__restrict line_b = line[1], *__restrict squares = line[2], *__restrict product = line[3];
  int64_t i = 0;
  for (; i + LANES <= size; i += LANES) {
    const Float va = load(a + i), vb = load(b + i);
    store(line_a + i, va), store(line_b + i, vb);
    store(squares + i, fma(va, va, vb * vb)), store(product + i, va * vb);
  }
  for (; i < size; i++) line_a[i] = a[i], line_b[i] = b[i], squares[i] = a[i] * a[i] + b[i] * b[i], product[i] = a[i] * b[i];
}

// out = sum over k of window[k] rows[k]
inline void blur_column(const float* const* rows, int64_t size, const Window& given, float* __restrict out) {
  const Window window = given;
  const float* row[TAPS];
  std::copy_n(rows, TAPS, row);
  for (int64_t i = 0; i < size; i += LANES) {
    Float total = broadcast(window.weight[0]) * load(row[0] + i);
    for (int k = 1; k < TAPS; k++) total = fma(broadcast(window.weight[k]), load(row[k] + i), total);
    store(out + i, total);
  }
}

// A ring of the last TAPS rows, each row split into PLANES, blurred along the row already.
template <int PLANES>
struct RowRing {
  int64_t stride;
  std::vector<float> values;
  RowRing(int64_t width) : stride(padded(width)), values(static_cast<size_t>(TAPS * PLANES) * stride) {}
  float* row(int64_t y, int plane) { return values.data() + (static_cast<size_t>((y + TAPS) % TAPS) * PLANES + plane) * stride; }
};

// What a band of rows needs while it slides over a picture.
class Band {
 public:
  double l1 = 0, ssim = 0, weight = 0;  // sums so far

  Band(int64_t width, const Window& window)
      : width_(width), size_(COLOURS * width), stride_(padded(width)), window_(window), ring_(width), inputs_(4 * stride_),
        blurred_(4 * stride_), derivatives_(MAPS * stride_), difference_(stride_), spread_(stride_, 1.0f) {}

  // Row y of image and target enters the ring; null outside the picture.
  void enter(int64_t y, const float* a, const float* b) {
    float* line[4];
    for (int plane = 0; plane < 4; plane++) line[plane] = inputs_.data() + plane * stride_ + PAD;
    if (a != nullptr) prepare(a, b, size_, line);
    const Window window = window_;  // a copy that no store can alias
    for (int plane = 0; plane < 4; plane++) {
      float* out = ring_.row(y, plane);
      const float* source = line[plane] - PAD;
      if (a == nullptr) {
        std::fill_n(out, stride_, 0.0f);
      } else {
        for (int64_t i = 0; i < size_; i += LANES) store(out + i, blur_row(source, i, window));
      }
    }
  }

  // Add row y, whose whole window is in the ring, to the sums; with `maps` also write its derivatives of the SSIM sum.
  void score(int64_t y, const float* a, const float* b, const float* weights, float* maps) {
    for (int plane = 0; plane < 4; plane++) {
      const float* rows[TAPS];
      for (int k = 0; k < TAPS; k++) rows[k] = ring_.row(y - RADIUS + k, plane);
      blur_column(rows, size_, window_, blurred_.data() + plane * stride_);
    }
    for (int64_t i = 0; i < size_; i++) difference_[i] = std::fabs(a[i] - b[i]);
    if (weights != nullptr)
      for (int64_t i = 0; i < size_; i++) spread_[i] = weights[i / COLOURS];
    double row_weight = 0;
    for (int64_t x = 0; x < width_ && weights != nullptr; x++) row_weight += weights[x];
    weight += weights == nullptr ? static_cast<double>(width_) : row_weight;
    Float row_l1 = broadcast(0.0f), row_ssim = broadcast(0.0f);
    for (int64_t i = 0; i < size_; i += LANES) compare(i, row_l1, row_ssim);
    l1 += sum(row_l1), ssim += sum(row_ssim);
    for (int map = 0; map < MAPS && maps != nullptr; map++) {
      const float* line = derivatives_.data() + map * stride_;
      float *out = maps + map * size_, rest[LANES];
      int64_t i = 0;
      for (; i + LANES <= size_; i += LANES) store(out + i, blur_row(line, i, window_));
      if (i < size_) store(rest, blur_row(line, i, window_)), std::copy_n(rest, size_ - i, out + i);
    }
  }

 private:
  // One vector of the row: SSIM and its derivatives.
  GEN3D_INLINE void compare(int64_t i, Float& row_l1, Float& row_ssim) {
    const float* blurred = blurred_.data() + i;
    const Float mean_a = load(blurred), mean_b = load(blurred + stride_);
    const Float product = mean_a * mean_b, squares = fma(mean_a, mean_a, mean_b * mean_b);
    const Float luminance = 2.0f * product + C1, structure = 2.0f * (load(blurred + 3 * stride_) - product) + C2;
    const Float luminance_norm = squares + C1, structure_norm = load(blurred + 2 * stride_) - squares + C2;
    const Float inverse = broadcast(1.0f) / (luminance_norm * structure_norm);
    const Mask real = lane_numbers() + static_cast<float>(i) < broadcast(static_cast<float>(size_));
    const Float weight = keep(real, load(spread_.data() + i)), value = luminance * structure * inverse;
    row_ssim = fma(weight, value, row_ssim);
    row_l1 = fma(weight, load(difference_.data() + i), row_l1);
    // value = luminance structure / (luminance_norm structure_norm)
    const Float common = weight * inverse, weighted = value * common;
    const Float by_mean = 2.0f * (mean_b * (structure - luminance) * common - mean_a * weighted * (structure_norm - luminance_norm));
    const Float by_square = -(weighted * luminance_norm), by_product = 2.0f * luminance * common;
    float* derivative = derivatives_.data() + PAD + i;
    store(derivative, keep(real, by_mean));
    store(derivative + stride_, keep(real, by_square));
    store(derivative + 2 * stride_, keep(real, by_product));
  }

  int64_t width_, size_, stride_;
  Window window_;
  RowRing<4> ring_;
  std::vector<float> inputs_, blurred_, derivatives_, difference_, spread_;
};

// sums[0], sums[1]: weighted sums of |image - target| and of SSIM over pixels and colours; sums[2]: sum of the weights of pixels.
// gradient_maps, when not null: [images, height, MAPS, 3 width], derivatives of the SSIM sum, blurred along rows.
inline void similarity(int64_t images, int64_t height, int64_t width, const float* image, const float* target, const float* weights,
                       float* gradient_maps, double* sums, int threads) {
  const Window window;
  const int64_t bands = (height + BAND - 1) / BAND, row_size = COLOURS * width;
  std::vector<double> partial(static_cast<size_t>(3 * images * bands));
  Pool::shared().run(static_cast<int>(images * bands), threads, [&](int task) {
    const int64_t first_row = task / bands * height, top = task % bands * BAND, bottom = std::min(height, top + BAND);
    const auto row_of = [&](const float* rows, int64_t y) { return rows + (first_row + y) * row_size; };
    Band band(width, window);
    for (int64_t y = top - RADIUS; y < bottom + RADIUS; y++) {
      const bool inside = 0 <= y && y < height;
      band.enter(y, inside ? row_of(image, y) : nullptr, inside ? row_of(target, y) : nullptr);
      const int64_t middle = y - RADIUS;
      if (middle < top) continue;
      band.score(middle, row_of(image, middle), row_of(target, middle),
                 weights == nullptr ? nullptr : weights + (first_row + middle) * width,
                 gradient_maps == nullptr ? nullptr : gradient_maps + (first_row + middle) * MAPS * row_size);
    }
    double* mine = partial.data() + 3 * task;
    mine[0] = band.l1, mine[1] = band.ssim, mine[2] = band.weight;
  });
  for (int k = 0; k < 3; k++) {
    sums[k] = 0;
    for (int64_t task = 0; task < images * bands; task++) sums[k] += partial[3 * task + k];
  }
}

// gradient = l1_scale d(L1 sum) + ssim_scale d(SSIM sum), by the image.
inline void similarity_backward(int64_t images, int64_t height, int64_t width, const float* image, const float* target,
                                const float* weights, const float* gradient_maps, float l1_scale, float ssim_scale, float* gradient,
                                int threads) {
  const Window window;
  const int64_t bands = (height + BAND - 1) / BAND, row_size = COLOURS * width;
  Pool::shared().run(static_cast<int>(images * bands), threads, [&](int task) {
    const int64_t picture = task / bands, top = task % bands * BAND, bottom = std::min(height, top + BAND);
    std::vector<float> blurred(static_cast<size_t>(MAPS * row_size));
    for (int64_t y = top; y < bottom; y++) {
      const int64_t first = std::max<int64_t>(y - RADIUS, 0), last = std::min(y + RADIUS, height - 1);
      const int64_t map_row = MAPS * row_size;
      const float* maps = gradient_maps + picture * height * map_row;
      int64_t i = 0;
      for (; i + LANES <= map_row; i += LANES) {
        Float total = broadcast(0.0f);
        for (int64_t k = first; k <= last; k++) total = fma(broadcast(window.weight[k - y + RADIUS]), load(maps + k * map_row + i), total);
        store(blurred.data() + i, total);
      }
      for (; i < map_row; i++) {
        float total = 0;
        for (int64_t k = first; k <= last; k++) total += window.weight[k - y + RADIUS] * maps[k * map_row + i];
        blurred[i] = total;
      }
      const float *by_mean = blurred.data(), *by_square = by_mean + row_size, *by_product = by_square + row_size;
      const int64_t start = (picture * height + y) * row_size;
      const float *a = image + start, *b = target + start;
      const float* weight = weights == nullptr ? nullptr : weights + (picture * height + y) * width;
      for (i = 0; i < row_size; i++) {
        const float sign = static_cast<float>((a[i] > b[i]) - (a[i] < b[i])), l1 = weight == nullptr ? sign : sign * weight[i / COLOURS];
        gradient[start + i] = l1_scale * l1 + ssim_scale * (by_mean[i] + 2.0f * a[i] * by_square[i] + b[i] * by_product[i]);
      }
    }
  });
}

}  // namespace gen3d
