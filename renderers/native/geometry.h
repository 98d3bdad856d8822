// A block of splats, one per lane, seen by one camera: the EWA projection (Zwicker et al. 2001) as far as both passes need it.
#pragma once
#include <algorithm>

#include "abi.h"
#include "simd.h"

namespace gen3d {

struct Camera {
  float r[9], t[3];   // world to camera
  float position[3];  // -r^T t
  float fx, fy, cx, cy;
  float low_x, high_x, low_y, high_y;  // bounds of x/z and y/z where the Jacobian is taken
  int width, height;

  Camera(const Gen3dView& view, const Gen3dSettings& settings) : width(view.width), height(view.height) {
    for (int i = 0; i < 3; i++) {
      for (int j = 0; j < 3; j++) r[3 * i + j] = view.world_to_camera[4 * i + j];
      t[i] = view.world_to_camera[4 * i + 3];
    }
    for (int j = 0; j < 3; j++) position[j] = -(r[j] * t[0] + r[3 + j] * t[1] + r[6 + j] * t[2]);
    fx = view.intrinsics[0], fy = view.intrinsics[4], cx = view.intrinsics[2], cy = view.intrinsics[5];
    const float margin_x = settings.frustum_margin * 0.5f * width / fx, margin_y = settings.frustum_margin * 0.5f * height / fy;
    low_x = -(cx / fx + margin_x), high_x = (width - cx) / fx + margin_x;
    low_y = -(cy / fy + margin_y), high_y = (height - cy) / fy + margin_y;
  }
};

// Lanes of `components` interleaved floats per splat; lanes past `filled` repeat the last splat.
template <int COMPONENTS>
GEN3D_INLINE void load_interleaved(const float* source, int filled, Float* out) {
  alignas(64) float lanes[COMPONENTS][LANES];
  for (int i = 0; i < LANES; i++)
    for (int k = 0; k < COMPONENTS; k++) lanes[k][i] = source[std::min(i, filled - 1) * COMPONENTS + k];
  for (int k = 0; k < COMPONENTS; k++) out[k] = load(lanes[k]);
}

GEN3D_INLINE Float dot3(const Float* a, const Float* b) { return fma(a[0], b[0], fma(a[1], b[1], a[2] * b[2])); }
GEN3D_INLINE Float dot3(const float* a, const Float* b) {
  return fma(broadcast(a[0]), b[0], fma(broadcast(a[1]), b[1], broadcast(a[2]) * b[2]));
}

struct Geometry {
  Float mean[3], scale[3], quat[4], quat_inverse_norm;
  Float axes[9];                 // rotation splat to world
  Float t[3];                    // centre in the camera
  Float inverse_z, slope_x, slope_y;  // 1/z, and x/z, y/z clamped to the bounds
  Mask free_x, free_y;           // where that clamp does nothing
  Float j_xx, j_xz, j_yy, j_yz;  // Jacobian of the projection
  Float ju[2][3];                // Jacobian times world-to-camera rotation
  Float unscaled[2][3];          // ... times axes
  Float factor[2][3];            // ... times scales: covariance on the screen = factor factor^T
  Float c00, c01, c11;           // covariance with eps2d added
  Float sharp_determinant;       // before eps2d was added, as a sum of squares
  Float determinant;

  GEN3D_INLINE Geometry(const Camera& camera, const Gen3dSplats& splats, float eps2d, int64_t first, int filled) {
    load_interleaved<3>(splats.means + 3 * first, filled, mean);
    load_interleaved<3>(splats.scales + 3 * first, filled, scale);
    load_interleaved<4>(splats.quats + 4 * first, filled, quat);
    for (int i = 0; i < 3; i++) t[i] = dot3(camera.r + 3 * i, mean) + camera.t[i];

    Float norm = sqrt(fma(quat[0], quat[0], fma(quat[1], quat[1], fma(quat[2], quat[2], quat[3] * quat[3]))));
    quat_inverse_norm = broadcast(1.0f) / max(broadcast(1e-12f), norm);
    for (Float& q : quat) q = q * quat_inverse_norm;
    const Float w = quat[0], x = quat[1], y = quat[2], z = quat[3], one = broadcast(1.0f), two = broadcast(2.0f);
    axes[0] = one - two * (y * y + z * z), axes[1] = two * (x * y - w * z), axes[2] = two * (x * z + w * y);
    axes[3] = two * (x * y + w * z), axes[4] = one - two * (x * x + z * z), axes[5] = two * (y * z - w * x);
    axes[6] = two * (x * z - w * y), axes[7] = two * (y * z + w * x), axes[8] = one - two * (x * x + y * y);

    inverse_z = one / t[2];
    const Float ratio_x = t[0] * inverse_z, ratio_y = t[1] * inverse_z;
    const Float low_x = broadcast(camera.low_x), high_x = broadcast(camera.high_x);
    const Float low_y = broadcast(camera.low_y), high_y = broadcast(camera.high_y);
    free_x = (low_x <= ratio_x) & (ratio_x <= high_x), free_y = (low_y <= ratio_y) & (ratio_y <= high_y);
    slope_x = min(max(ratio_x, low_x), high_x), slope_y = min(max(ratio_y, low_y), high_y);
    j_xx = camera.fx * inverse_z, j_xz = -(j_xx * slope_x);
    j_yy = camera.fy * inverse_z, j_yz = -(j_yy * slope_y);
    for (int j = 0; j < 3; j++) {
      ju[0][j] = fma(j_xx, broadcast(camera.r[j]), j_xz * broadcast(camera.r[6 + j]));
      ju[1][j] = fma(j_yy, broadcast(camera.r[3 + j]), j_yz * broadcast(camera.r[6 + j]));
    }
    for (int i = 0; i < 2; i++)
      for (int j = 0; j < 3; j++) {
        unscaled[i][j] = fma(ju[i][0], axes[j], fma(ju[i][1], axes[3 + j], ju[i][2] * axes[6 + j]));
        factor[i][j] = unscaled[i][j] * scale[j];
      }
    const Float* a = factor[0];
    const Float* b = factor[1];
    const Float sharp00 = dot3(a, a), sharp11 = dot3(b, b);
    c00 = sharp00 + eps2d, c01 = dot3(a, b), c11 = sharp11 + eps2d;
    // Cauchy-Binet: the determinant is the squared length of a x b, which keeps its digits where c00 c11 - c01² loses them.
    sharp_determinant = square(a[1] * b[2] - a[2] * b[1]) + square(a[2] * b[0] - a[0] * b[2]) + square(a[0] * b[1] - a[1] * b[0]);
    determinant = sharp_determinant + fma(broadcast(eps2d), sharp00 + sharp11, broadcast(eps2d * eps2d));
  }

  GEN3D_INLINE Float screen_x(const Camera& camera) const { return fma(broadcast(camera.fx), t[0] * inverse_z, broadcast(camera.cx)); }
  GEN3D_INLINE Float screen_y(const Camera& camera) const { return fma(broadcast(camera.fy), t[1] * inverse_z, broadcast(camera.cy)); }
};

}  // namespace gen3d
