// Real spherical harmonics of degree 0 to 3 and their derivatives, one direction per lane; harmonics.py has the same order and signs.
#pragma once
#include "simd.h"

namespace gen3d {

constexpr float SH0 = 0.28209479177387814f;
constexpr float SH1 = 0.4886025119029199f;
constexpr float SH2[5] = {1.0925484305920792f, -1.0925484305920792f, 0.31539156525252005f, -1.0925484305920792f, 0.5462742152960396f};
constexpr float SH3[7] = {-0.5900435899266435f, 2.890611442640554f,  -0.4570457994644658f, 0.3731763325901154f,
                          -0.4570457994644658f, 1.445305721320277f, -0.5900435899266435f};

// values[k]: harmonic k at the unit direction d.
template <int COEFFICIENTS>
GEN3D_INLINE void harmonics(const Float d[3], Float* values) {
  const Float x = d[0], y = d[1], z = d[2];
  values[0] = broadcast(SH0);
  if constexpr (COEFFICIENTS > 1) values[1] = -SH1 * y, values[2] = SH1 * z, values[3] = -SH1 * x;
  if constexpr (COEFFICIENTS > 4) {
    const Float xx = x * x, yy = y * y, zz = z * z;
    values[4] = SH2[0] * (x * y);
    values[5] = SH2[1] * (y * z);
    values[6] = SH2[2] * (2.0f * zz - xx - yy);
    values[7] = SH2[3] * (x * z);
    values[8] = SH2[4] * (xx - yy);
    if constexpr (COEFFICIENTS > 9) {
      values[9] = SH3[0] * (y * (3.0f * xx - yy));
      values[10] = SH3[1] * (x * y * z);
      values[11] = SH3[2] * (y * (4.0f * zz - xx - yy));
      values[12] = SH3[3] * (z * (2.0f * zz - 3.0f * (xx + yy)));
      values[13] = SH3[4] * (x * (4.0f * zz - xx - yy));
      values[14] = SH3[5] * (z * (xx - yy));
      values[15] = SH3[6] * (x * (xx - 3.0f * yy));
    }
  }
}

// out = sum over k of weights[k] times the gradient of harmonic k by d, as if d were free of its unit length.
template <int COEFFICIENTS>
GEN3D_INLINE void harmonics_gradient(const Float d[3], const Float* weights, Float out[3]) {
  const Float x = d[0], y = d[1], z = d[2];
  const Float* w = weights;
  Float gx = -SH1 * w[3], gy = -SH1 * w[1], gz = SH1 * w[2];
  if constexpr (COEFFICIENTS > 4) {
    const Float a = SH2[0] * w[4], b = SH2[1] * w[5], c = 2.0f * SH2[2] * w[6], e = SH2[3] * w[7], f = 2.0f * SH2[4] * w[8];
    gx += a * y - c * x + e * z + f * x;
    gy += a * x + b * z - c * y - f * y;
    gz += b * y + 2.0f * c * z + e * x;
  }
  if constexpr (COEFFICIENTS > 9) {
    const Float xx = x * x, yy = y * y, zz = z * z, xy = x * y, xz = x * z, yz = y * z;
    const Float a = SH3[0] * w[9], b = SH3[1] * w[10], c = SH3[2] * w[11], e = SH3[3] * w[12];
    const Float f = SH3[4] * w[13], g = SH3[5] * w[14], h = SH3[6] * w[15];
    gx += a * (6.0f * xy) + b * yz - c * (2.0f * xy) - e * (6.0f * xz) + f * (4.0f * zz - 3.0f * xx - yy) + g * (2.0f * xz) +
          h * (3.0f * (xx - yy));
    gy += a * (3.0f * (xx - yy)) + b * xz + c * (4.0f * zz - xx - 3.0f * yy) - e * (6.0f * yz) - f * (2.0f * xy) - g * (2.0f * yz) -
          h * (6.0f * xy);
    gz += b * xy + c * (8.0f * yz) + e * (6.0f * zz - 3.0f * (xx + yy)) + f * (8.0f * xz) + g * (xx - yy);
  }
  out[0] = gx, out[1] = gy, out[2] = gz;
}

}  // namespace gen3d
