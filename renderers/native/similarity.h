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

// sums[0], sums[1]: weighted sums of |image - target| and of SSIM over pixels and colours; sums[2]: sum of the weights of pixels.
// gradient_maps, when not null: [images, height, MAPS, 3 width], derivatives of the SSIM sum, blurred along rows.
inline void similarity(int64_t images, int64_t height, int64_t width, const float* image, const float* target, const float* weights,
                       float* gradient_maps, double* sums, int threads) {
  const Window shared_window;
  const int64_t bands = (height + BAND - 1) / BAND, row_size = COLOURS * width;
  std::vector<double> partial(static_cast<size_t>(3 * images * bands));
  Pool::shared().run(static_cast<int>(images * bands), threads, [&](int task) {
    const Window window = shared_window;  // a copy that no store can alias
    const int64_t picture = task / bands, top = task % bands * BAND, bottom = std::min(height, top + BAND);
    const float* a_rows = image + picture * height * row_size;
    const float* b_rows = target + picture * height * row_size;
    RowRing<4> ring(width);  // blurred image, target, sum of squares, product
    std::vector<float> lines(static_cast<size_t>(4 * ring.stride)), padded_lines(lines), spread(static_cast<size_t>(row_size + LANES), 1.0f), difference(spread);
    std::vector<float> derivative(static_cast<size_t>(MAPS * ring.stride));
    double l1 = 0, ssim = 0, total = 0;
    for (int64_t y = top - RADIUS; y < bottom + RADIUS; y++) {
      if (y < 0 || y >= height) {
        for (int plane = 0; plane < 4; plane++) std::fill_n(ring.row(y, plane), ring.stride, 0.0f);
      } else {
        const float *a = a_rows + y * row_size, *b = b_rows + y * row_size;
        float* line[4];
        for (int plane = 0; plane < 4; plane++) line[plane] = padded_lines.data() + plane * ring.stride + PAD;
        prepare(a, b, row_size, line);
        for (int plane = 0; plane < 4; plane++) {
          float* out = ring.row(y, plane);
          const float* source = line[plane] - PAD;
          for (int64_t i = 0; i < row_size; i += LANES) store(out + i, blur_row(source, i, window));
        }
      }
      const int64_t middle = y - RADIUS;
      if (middle < top) continue;
      const float* weight_row = weights == nullptr ? nullptr : weights + (picture * height + middle) * width;
      if (weight_row != nullptr) {
        for (int64_t i = 0; i < row_size; i++) spread[i] = weight_row[i / COLOURS];
        for (int64_t x = 0; x < width; x++) total += weight_row[x];
      } else {
        total += static_cast<double>(width);
      }
      // Whole vectors read past the end of a row, so the differences come from a padded copy.
      const float *a = a_rows + middle * row_size, *b = b_rows + middle * row_size;
      for (int64_t i = 0; i < row_size; i++) difference[i] = std::fabs(a[i] - b[i]);
      for (int plane = 0; plane < 4; plane++) {
        const float* rows[TAPS];
        for (int k = 0; k < TAPS; k++) rows[k] = ring.row(middle - RADIUS + k, plane);
        blur_column(rows, row_size, window, lines.data() + plane * ring.stride);
      }
      Float row_l1 = broadcast(0.0f), row_ssim = broadcast(0.0f);
      const Float numbers = lane_numbers(), size = broadcast(static_cast<float>(row_size));
      for (int64_t i = 0; i < row_size; i += LANES) {
        Float blurred[4];
        for (int plane = 0; plane < 4; plane++) blurred[plane] = load(lines.data() + plane * ring.stride + i);
        const Float mean_a = blurred[0], mean_b = blurred[1];
        const Float product = mean_a * mean_b, squares = fma(mean_a, mean_a, mean_b * mean_b);
        const Float luminance = 2.0f * product + C1, structure = 2.0f * (blurred[3] - product) + C2;
        const Float luminance_norm = squares + C1, structure_norm = blurred[2] - squares + C2;
        const Float inverse = broadcast(1.0f) / (luminance_norm * structure_norm);
        const Mask real = numbers + static_cast<float>(i) < size;
        const Float weight = keep(real, load(spread.data() + i)), value = luminance * structure * inverse;
        row_ssim = fma(weight, value, row_ssim);
        row_l1 = fma(weight, load(difference.data() + i), row_l1);
        if (gradient_maps != nullptr) {
          // value = luminance structure / (luminance_norm structure_norm)
          const Float common = weight * inverse, weighted = value * common;
          const Float by_product = 2.0f * luminance * common;     // by the blurred product
          const Float by_square = -(weighted * luminance_norm);   // by the blurred sum of squares
          const Float by_mean = 2.0f * (mean_b * (structure - luminance) * common - mean_a * weighted * (structure_norm - luminance_norm));
          store(derivative.data() + PAD + i, keep(real, by_mean));
          store(derivative.data() + ring.stride + PAD + i, keep(real, by_square));
          store(derivative.data() + 2 * ring.stride + PAD + i, keep(real, by_product));
        }
      }
      l1 += sum(row_l1), ssim += sum(row_ssim);
      if (gradient_maps != nullptr)
        for (int map = 0; map < MAPS; map++) {
          const float* line = derivative.data() + map * ring.stride;
          float* out = gradient_maps + ((picture * height + middle) * MAPS + map) * row_size;
          int64_t i = 0;
          for (; i + LANES <= row_size; i += LANES) store(out + i, blur_row(line, i, window));
          if (i < row_size) {
            float rest[LANES];
            store(rest, blur_row(line, i, window));
            std::copy_n(rest, row_size - i, out + i);
          }
        }
    }
    double* mine = partial.data() + 3 * task;
    mine[0] = l1, mine[1] = ssim, mine[2] = total;
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
      const float *a = image + start, *b = target + start, *weight = weights == nullptr ? nullptr : weights + (picture * height + y) * width;
      for (i = 0; i < row_size; i++) {
        const float sign = static_cast<float>((a[i] > b[i]) - (a[i] < b[i])), l1 = weight == nullptr ? sign : sign * weight[i / COLOURS];
        gradient[start + i] = l1_scale * l1 + ssim_scale * (by_mean[i] + 2.0f * a[i] * by_square[i] + b[i] * by_product[i]);
      }
    }
  });
}

}  // namespace gen3d
