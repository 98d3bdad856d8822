// Last step of the backward pass: the sums of each splat over its tiles go back through the projection to its parameters.
#pragma once
#include "projection.h"

namespace gen3d {

// Where the gradients of one block of splats gather; lanes that were not drawn are zero.
struct BlockGradient {
  Float mean[3], scale[3], quat[4], opacity, screen[2];
  Float rotation[9], translation[3];  // of the camera
};

// Chain rule through Geometry. `s` are the moments; conventions of Record: log(alpha) = log(opacity) + A u² + E dy², u = dx + shear dy,
// with D = determinant / c11, A = -1 / (2 D), E = -1 / (2 c11), shear = -c01 / c11.
GEN3D_INLINE void project_backward(const Camera& camera, const Geometry& g, const Float* s, bool antialias, BlockGradient& out) {
  const Float one = broadcast(1.0f);
  const Float inverse_c11 = one / g.c11, inverse_d = g.c11 / g.determinant, shear = -(g.c01 * inverse_c11);
  out.screen[0] = inverse_d * s[M_U];
  out.screen[1] = fma(inverse_c11, s[M_DY], shear * out.screen[0]);

  const Float v_d = 0.5f * square(inverse_d) * s[M_UU];
  const Float v_shear = -(inverse_d * s[M_UDY]);
  Float v00 = v_d;
  Float v01 = 2.0f * shear * v_d - v_shear * inverse_c11;
  Float v11 = shear * (shear * v_d - v_shear * inverse_c11) + 0.5f * square(inverse_c11) * s[M_DYDY];
  const Float *a = g.factor[0], *b = g.factor[1];
  Float v_sharp = broadcast(0.0f);  // by the determinant without eps2d, which antialiasing uses
  if (antialias) {
    // opacity is multiplied by sqrt(sharp_determinant / determinant)
    const Float half = 0.5f * s[M_ONE], by_determinant = half / g.determinant;
    v_sharp = half / g.sharp_determinant;
    v00 = v00 - by_determinant * g.c11, v11 = v11 - by_determinant * g.c00, v01 += 2.0f * by_determinant * g.c01;
  }
  Float v_a[3], v_b[3];
  for (int j = 0; j < 3; j++) v_a[j] = 2.0f * v00 * a[j] + v01 * b[j], v_b[j] = 2.0f * v11 * b[j] + v01 * a[j];
  if (antialias) {
    const Float aa = dot3(a, a), bb = dot3(b, b);
    for (int j = 0; j < 3; j++) {
      v_a[j] += 2.0f * v_sharp * (bb * a[j] - g.c01 * b[j]);
      v_b[j] += 2.0f * v_sharp * (aa * b[j] - g.c01 * a[j]);
    }
  }

  Float v_unscaled[2][3], v_axes[9], v_ju[2][3];
  for (int j = 0; j < 3; j++) {
    out.scale[j] = fma(v_a[j], g.unscaled[0][j], v_b[j] * g.unscaled[1][j]);
    v_unscaled[0][j] = v_a[j] * g.scale[j], v_unscaled[1][j] = v_b[j] * g.scale[j];
  }
  for (int i = 0; i < 3; i++) {
    for (int j = 0; j < 3; j++) v_axes[3 * i + j] = fma(g.ju[0][i], v_unscaled[0][j], g.ju[1][i] * v_unscaled[1][j]);
    for (int k = 0; k < 2; k++) v_ju[k][i] = dot3(g.axes + 3 * i, v_unscaled[k]);
  }
  const Float v_xx = dot3(camera.r, v_ju[0]), v_xz = dot3(camera.r + 6, v_ju[0]);
  const Float v_yy = dot3(camera.r + 3, v_ju[1]), v_yz = dot3(camera.r + 6, v_ju[1]);
  for (int j = 0; j < 3; j++) {
    out.rotation[j] = g.j_xx * v_ju[0][j];
    out.rotation[3 + j] = g.j_yy * v_ju[1][j];
    out.rotation[6 + j] = fma(g.j_xz, v_ju[0][j], g.j_yz * v_ju[1][j]);
  }

  // j_xx = fx / z, j_xz = -fx slope_x / z; screen x = fx t_x / z + cx; the same for y
  const Float v_slope_x = keep(g.free_x, -(g.j_xx * v_xz)), v_slope_y = keep(g.free_y, -(g.j_yy * v_yz));
  const Float v_ratio_x = fma(broadcast(camera.fx), out.screen[0], v_slope_x);
  const Float v_ratio_y = fma(broadcast(camera.fy), out.screen[1], v_slope_y);
  Float v_inverse_z = camera.fx * (v_xx - g.slope_x * v_xz) + camera.fy * (v_yy - g.slope_y * v_yz);
  v_inverse_z += v_ratio_x * g.t[0] + v_ratio_y * g.t[1];
  const Float v_t[3] = {v_ratio_x * g.inverse_z, v_ratio_y * g.inverse_z, -(v_inverse_z * square(g.inverse_z))};
  for (int i = 0; i < 3; i++) {
    out.translation[i] = v_t[i];
    out.mean[i] = camera.r[i] * v_t[0] + camera.r[3 + i] * v_t[1] + camera.r[6 + i] * v_t[2];
    for (int j = 0; j < 3; j++) out.rotation[3 * i + j] += v_t[i] * g.mean[j];
  }

  const Float w = g.quat[0], x = g.quat[1], y = g.quat[2], z = g.quat[3], *v = v_axes;
  Float q[4];
  q[0] = 2.0f * (x * (v[7] - v[5]) + y * (v[2] - v[6]) + z * (v[3] - v[1]));
  q[1] = 2.0f * (y * (v[1] + v[3]) + z * (v[2] + v[6]) + w * (v[7] - v[5]) - 2.0f * x * (v[4] + v[8]));
  q[2] = 2.0f * (x * (v[1] + v[3]) + z * (v[5] + v[7]) + w * (v[2] - v[6]) - 2.0f * y * (v[0] + v[8]));
  q[3] = 2.0f * (x * (v[2] + v[6]) + y * (v[5] + v[7]) + w * (v[3] - v[1]) - 2.0f * z * (v[0] + v[4]));
  const Float radial = q[0] * w + q[1] * x + q[2] * y + q[3] * z;
  for (int k = 0; k < 4; k++) out.quat[k] = (q[k] - radial * g.quat[k]) * g.quat_inverse_norm;
}

// Harmonics: dL/d sh of the drawn splats, and dL/d mean and camera through the viewing direction.
// `colour` holds dL/d colour per channel and lane; channels that the clamp at 0 holds are set to zero.
template <int COEFFICIENTS>
GEN3D_INLINE void harmonics_backward(const Camera& camera, const Gen3dSplats& splats, const Geometry& g, int64_t first, int filled,
                                     const float* drawn, float (*colour)[LANES], const Gen3dGradients& gradients, BlockGradient& out) {
  alignas(64) float basis[COEFFICIENTS][LANES], weights[COEFFICIENTS][LANES] = {};
  Float direction[3], values[COEFFICIENTS];
  const Float inverse_distance = viewing_directions(camera, g.mean, direction);
  harmonics<COEFFICIENTS>(direction, values);
  for (int k = 0; k < COEFFICIENTS; k++) store(basis[k], values[k]);
  constexpr int SIZE = 3 * COEFFICIENTS;
  for (int i = 0; i < filled; i++) {
    float* v_sh = gradients.sh + (first + i) * SIZE;
    if (drawn[i] == 0) {
      if (!gradients.accumulate) std::fill_n(v_sh, SIZE, 0.0f);
      continue;
    }
    const float* sh = splats.sh + (first + i) * SIZE;
    float seen[3];
    add_harmonics<COEFFICIENTS>(sh, basis, i, seen);
    for (int c = 0; c < 3; c++)
      if (seen[c] < 0) colour[c][i] = 0;
    for (int k = 0; k < COEFFICIENTS; k++) {
      for (int c = 0; c < 3; c++) {
        const float v = basis[k][i] * colour[c][i];
        v_sh[3 * k + c] = gradients.accumulate ? v_sh[3 * k + c] + v : v;
        weights[k][i] += sh[3 * k + c] * colour[c][i];
      }
    }
  }
  if constexpr (COEFFICIENTS > 1) {
    Float lanes[COEFFICIENTS], v_direction[3];
    for (int k = 0; k < COEFFICIENTS; k++) lanes[k] = load(weights[k]);
    harmonics_gradient<COEFFICIENTS>(direction, lanes, v_direction);
    const Float radial = dot3(direction, v_direction);
    for (int j = 0; j < 3; j++) {
      const Float v = (v_direction[j] - radial * direction[j]) * inverse_distance;
      out.mean[j] += v;
      for (int i = 0; i < 3; i++) {  // the camera stands at -r^T t
        out.rotation[3 * i + j] += broadcast(camera.t[i]) * v;
        out.translation[i] += broadcast(camera.r[3 * i + j]) * v;
      }
    }
  }
}

// Spread lanes to interleaved memory: write, or add for a further view.
template <int COMPONENTS>
GEN3D_INLINE void store_interleaved(float* target, const Float* lanes, Mask drawn, int filled, bool accumulate) {
  alignas(64) float values[COMPONENTS][LANES];
  for (int k = 0; k < COMPONENTS; k++) store(values[k], keep(drawn, lanes[k]));
  for (int i = 0; i < filled; i++)
    for (int k = 0; k < COMPONENTS; k++) target[i * COMPONENTS + k] = (accumulate ? target[i * COMPONENTS + k] : 0.0f) + values[k][i];
}

template <int FEATURES, int COEFFICIENTS>
void project_backward(const Gen3dSplats& splats, const Gen3dView& view, const Gen3dSettings& settings, const Frame& frame, Workspace& work,
                      const Gen3dGradients& gradients, int threads) {
  constexpr int VALUES = MOMENTS + 3 + FEATURES, SLOT = slot_size(3 + FEATURES), POSE = 12;
  const Camera camera(view, settings);
  const bool absgrad = settings.absgrad && gradients.screen_offsets != nullptr;
  const int32_t *slot_begin = frame.slot_begin.data(), *slot_place = frame.slot_place.data();
  const float* slots = work.slots.data();
  double* pose_sums = work.partial.reserve(CHUNKS * POSE);

  Pool::shared().run(CHUNKS, threads, [&](int chunk) {
    Float pose[POSE];
    for (Float& p : pose) p = broadcast(0.0f);
    const int64_t end = chunk_begin(splats.count, chunk + 1);
    for (int64_t first = chunk_begin(splats.count, chunk); first < end; first += LANES) {
      const int filled = static_cast<int>(std::min<int64_t>(LANES, end - first));
      alignas(64) float sums[SLOT][LANES] = {}, drawn_lanes[LANES] = {};
      const int ahead = slot_begin[std::min<int64_t>(first + 2 * LANES, end)];
      for (int slot = slot_begin[std::min<int64_t>(first + LANES, end)]; slot < ahead; slot++)
        __builtin_prefetch(slots + static_cast<size_t>(slot_place[slot]) * SLOT);
      for (int i = 0; i < filled; i++) {
        const int begin = slot_begin[first + i], stop = slot_begin[first + i + 1];
        drawn_lanes[i] = begin < stop ? 1.0f : 0.0f;
        for (int slot = begin; slot < stop; slot++) {
          const float* values = slots + static_cast<size_t>(slot_place[slot]) * SLOT;
          for (int k = 0; k < VALUES; k++) sums[k][i] += values[k];
          if (absgrad)
            for (int k = VALUES; k < VALUES + MAGNITUDES; k++) sums[k][i] += values[k];
        }
      }
      const Geometry geometry(camera, splats, settings.eps2d, first, filled);
      const Mask drawn = broadcast(0.0f) < load(drawn_lanes);
      Float moments[MOMENTS];
      for (int k = 0; k < MOMENTS; k++) moments[k] = load(sums[k]);
      BlockGradient block;
      project_backward(camera, geometry, moments, settings.antialias, block);
      harmonics_backward<COEFFICIENTS>(camera, splats, geometry, first, filled, drawn_lanes, sums + MOMENTS, gradients, block);
      Float opacity;
      load_interleaved<1>(splats.opacities + first, filled, &opacity);
      block.opacity = moments[M_ONE] / opacity;

      const bool add = gradients.accumulate;
      store_interleaved<3>(gradients.means + 3 * first, block.mean, drawn, filled, add);
      store_interleaved<3>(gradients.scales + 3 * first, block.scale, drawn, filled, add);
      store_interleaved<4>(gradients.quats + 4 * first, block.quat, drawn, filled, add);
      store_interleaved<1>(gradients.opacities + first, &block.opacity, drawn, filled, add);
      if (absgrad)  // of across u² + along dy² in powers of two, by the centre
        for (int k = 0; k < 2; k++) block.screen[k] = (2.0f / LOG2E) * load(sums[VALUES + k]);
      if (gradients.screen_offsets != nullptr)
        store_interleaved<2>(gradients.screen_offsets + 2 * first, block.screen, drawn, filled, false);
      if constexpr (FEATURES > 0) {
        Float features[FEATURES];
        for (int c = 0; c < FEATURES; c++) features[c] = load(sums[MOMENTS + 3 + c]);
        store_interleaved<FEATURES>(gradients.features + FEATURES * first, features, drawn, filled, false);
      }
      if (gradients.world_to_camera != nullptr) {
        for (int k = 0; k < 9; k++) pose[k] += keep(drawn, block.rotation[k]);
        for (int k = 0; k < 3; k++) pose[9 + k] += keep(drawn, block.translation[k]);
      }
    }
    for (int k = 0; k < POSE; k++) pose_sums[chunk * POSE + k] = sum(pose[k]);
  });
  if (gradients.world_to_camera == nullptr) return;
  std::fill_n(gradients.world_to_camera, 16, 0.0f);
  for (int k = 0; k < POSE; k++) {
    double total = 0;
    for (int chunk = 0; chunk < CHUNKS; chunk++) total += pose_sums[chunk * POSE + k];
    gradients.world_to_camera[k < 9 ? k / 3 * 4 + k % 3 : (k - 9) * 4 + 3] = static_cast<float>(total);
  }
}

}  // namespace gen3d
