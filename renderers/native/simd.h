// A vector of floats and what the kernels do with it: 16 lanes with AVX-512, 8 with AVX2, 4 with SSE2, NEON or anything else
// that GCC and Clang know how to make of a vector type.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define GEN3D_AVX512
#elif defined(__AVX2__) && defined(__FMA__)
#define GEN3D_AVX2
#endif
#if defined(GEN3D_AVX512) || defined(GEN3D_AVX2)
#include <immintrin.h>
#endif

#define GEN3D_INLINE inline __attribute__((always_inline))

namespace gen3d {

#if defined(GEN3D_AVX512)

constexpr int LANES = 16;
struct Float { __m512 v; };
struct Mask { __mmask16 v; };

GEN3D_INLINE Float broadcast(float a) { return {_mm512_set1_ps(a)}; }
GEN3D_INLINE Float load(const float* p) { return {_mm512_loadu_ps(p)}; }
GEN3D_INLINE void store(float* p, Float a) { _mm512_storeu_ps(p, a.v); }
GEN3D_INLINE Float operator+(Float a, Float b) { return {_mm512_add_ps(a.v, b.v)}; }
GEN3D_INLINE Float operator-(Float a, Float b) { return {_mm512_sub_ps(a.v, b.v)}; }
GEN3D_INLINE Float operator*(Float a, Float b) { return {_mm512_mul_ps(a.v, b.v)}; }
GEN3D_INLINE Float operator/(Float a, Float b) { return {_mm512_div_ps(a.v, b.v)}; }
GEN3D_INLINE Float fma(Float a, Float b, Float c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
GEN3D_INLINE Float min(Float a, Float b) { return {_mm512_min_ps(a.v, b.v)}; }
GEN3D_INLINE Float max(Float a, Float b) { return {_mm512_max_ps(a.v, b.v)}; }
GEN3D_INLINE Float sqrt(Float a) { return {_mm512_sqrt_ps(a.v)}; }
GEN3D_INLINE Float floor(Float a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)}; }
GEN3D_INLINE Mask operator<(Float a, Float b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
GEN3D_INLINE Mask operator<=(Float a, Float b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
GEN3D_INLINE Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.v & b.v)}; }
GEN3D_INLINE Mask and_not(Mask a, Mask b) { return {static_cast<__mmask16>(a.v & ~b.v)}; }
GEN3D_INLINE bool any(Mask a) { return a.v != 0; }
GEN3D_INLINE Float select(Mask m, Float a, Float b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
GEN3D_INLINE Float keep(Mask m, Float a) { return {_mm512_maskz_mov_ps(m.v, a.v)}; }
GEN3D_INLINE Float flip_sign(Mask m, Float a) { return {_mm512_mask_xor_ps(a.v, m.v, a.v, _mm512_set1_ps(-0.0f))}; }
GEN3D_INLINE Float swap_pairs(Float a) { return {_mm512_permute_ps(a.v, 0xB1)}; }
GEN3D_INLINE Float reciprocal(Float a) {
  __m512 r = _mm512_rcp14_ps(a.v);
  return {_mm512_mul_ps(r, _mm512_fnmadd_ps(a.v, r, _mm512_set1_ps(2.0f)))};
}
GEN3D_INLINE Float shift_into_exponent(Float mantissa, Float rounded) {
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(mantissa.v), _mm512_slli_epi32(_mm512_castps_si512(rounded.v), 23)))};
}
GEN3D_INLINE void store_truncated(int32_t* p, Float a) { _mm512_storeu_si512(p, _mm512_cvttps_epi32(a.v)); }
GEN3D_INLINE Float compress(Mask m, Float a) { return {_mm512_maskz_compress_ps(m.v, a.v)}; }
GEN3D_INLINE int count(Mask m) { return __builtin_popcount(m.v); }
GEN3D_INLINE __m256 halves(Float a) { return _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)); }

#elif defined(GEN3D_AVX2)

constexpr int LANES = 8;
struct Float { __m256 v; };
struct Mask { __m256 v; };

GEN3D_INLINE Float broadcast(float a) { return {_mm256_set1_ps(a)}; }
GEN3D_INLINE Float load(const float* p) { return {_mm256_loadu_ps(p)}; }
GEN3D_INLINE void store(float* p, Float a) { _mm256_storeu_ps(p, a.v); }
GEN3D_INLINE Float operator+(Float a, Float b) { return {_mm256_add_ps(a.v, b.v)}; }
GEN3D_INLINE Float operator-(Float a, Float b) { return {_mm256_sub_ps(a.v, b.v)}; }
GEN3D_INLINE Float operator*(Float a, Float b) { return {_mm256_mul_ps(a.v, b.v)}; }
GEN3D_INLINE Float operator/(Float a, Float b) { return {_mm256_div_ps(a.v, b.v)}; }
GEN3D_INLINE Float fma(Float a, Float b, Float c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
GEN3D_INLINE Float min(Float a, Float b) { return {_mm256_min_ps(a.v, b.v)}; }
GEN3D_INLINE Float max(Float a, Float b) { return {_mm256_max_ps(a.v, b.v)}; }
GEN3D_INLINE Float sqrt(Float a) { return {_mm256_sqrt_ps(a.v)}; }
GEN3D_INLINE Float floor(Float a) { return {_mm256_floor_ps(a.v)}; }
GEN3D_INLINE Mask operator<(Float a, Float b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
GEN3D_INLINE Mask operator<=(Float a, Float b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
GEN3D_INLINE Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.v, b.v)}; }
GEN3D_INLINE Mask and_not(Mask a, Mask b) { return {_mm256_andnot_ps(b.v, a.v)}; }
GEN3D_INLINE bool any(Mask a) { return _mm256_movemask_ps(a.v) != 0; }
GEN3D_INLINE Float select(Mask m, Float a, Float b) { return {_mm256_blendv_ps(b.v, a.v, m.v)}; }
GEN3D_INLINE Float keep(Mask m, Float a) { return {_mm256_and_ps(m.v, a.v)}; }
GEN3D_INLINE Float flip_sign(Mask m, Float a) { return {_mm256_xor_ps(a.v, _mm256_and_ps(m.v, _mm256_set1_ps(-0.0f)))}; }
GEN3D_INLINE Float swap_pairs(Float a) { return {_mm256_permute_ps(a.v, 0xB1)}; }
GEN3D_INLINE Float reciprocal(Float a) {
  __m256 r = _mm256_rcp_ps(a.v);
  return {_mm256_mul_ps(r, _mm256_fnmadd_ps(a.v, r, _mm256_set1_ps(2.0f)))};
}
GEN3D_INLINE Float shift_into_exponent(Float mantissa, Float rounded) {
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(mantissa.v), _mm256_slli_epi32(_mm256_castps_si256(rounded.v), 23)))};
}
GEN3D_INLINE void store_truncated(int32_t* p, Float a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvttps_epi32(a.v));
}
// Row m lists the set bits of m first: the permutation that moves those lanes to the front.
struct CompressTable {
  int32_t lanes[256][8];
  constexpr CompressTable() : lanes() {
    for (int m = 0; m < 256; m++) {
      int filled = 0;
      for (int lane = 0; lane < 8; lane++)
        if (m >> lane & 1) lanes[m][filled++] = lane;
    }
  }
};
alignas(32) constexpr CompressTable COMPRESS{};
GEN3D_INLINE Float compress(Mask m, Float a) {
  const int32_t* lanes = COMPRESS.lanes[_mm256_movemask_ps(m.v)];
  return {_mm256_permutevar8x32_ps(a.v, _mm256_load_si256(reinterpret_cast<const __m256i*>(lanes)))};
}
GEN3D_INLINE int count(Mask m) { return __builtin_popcount(_mm256_movemask_ps(m.v)); }
GEN3D_INLINE __m256 halves(Float a) { return a.v; }

#else

constexpr int LANES = 4;
typedef float Native __attribute__((vector_size(16)));
typedef int32_t NativeInt __attribute__((vector_size(16)));
struct Float { Native v; };
struct Mask { NativeInt v; };

GEN3D_INLINE Float broadcast(float a) { return {Native{a, a, a, a}}; }
GEN3D_INLINE Float load(const float* p) { Float a; std::memcpy(&a.v, p, sizeof a.v); return a; }
GEN3D_INLINE void store(float* p, Float a) { std::memcpy(p, &a.v, sizeof a.v); }
GEN3D_INLINE Float operator+(Float a, Float b) { return {a.v + b.v}; }
GEN3D_INLINE Float operator-(Float a, Float b) { return {a.v - b.v}; }
GEN3D_INLINE Float operator*(Float a, Float b) { return {a.v * b.v}; }
GEN3D_INLINE Float operator/(Float a, Float b) { return {a.v / b.v}; }
GEN3D_INLINE Float fma(Float a, Float b, Float c) { return {a.v * b.v + c.v}; }
GEN3D_INLINE Mask operator<(Float a, Float b) { return {a.v < b.v}; }
GEN3D_INLINE Mask operator<=(Float a, Float b) { return {a.v <= b.v}; }
GEN3D_INLINE Mask operator&(Mask a, Mask b) { return {a.v & b.v}; }
GEN3D_INLINE Mask and_not(Mask a, Mask b) { return {a.v & ~b.v}; }
GEN3D_INLINE bool any(Mask a) { return (a.v[0] | a.v[1] | a.v[2] | a.v[3]) != 0; }
GEN3D_INLINE Float keep(Mask m, Float a) { return {reinterpret_cast<Native>(m.v & reinterpret_cast<NativeInt>(a.v))}; }
GEN3D_INLINE Float select(Mask m, Float a, Float b) {
  return {reinterpret_cast<Native>((m.v & reinterpret_cast<NativeInt>(a.v)) | (~m.v & reinterpret_cast<NativeInt>(b.v)))};
}
GEN3D_INLINE Float min(Float a, Float b) { return select(a < b, a, b); }
GEN3D_INLINE Float max(Float a, Float b) { return select(b < a, a, b); }
GEN3D_INLINE Float sqrt(Float a) { return {Native{std::sqrt(a.v[0]), std::sqrt(a.v[1]), std::sqrt(a.v[2]), std::sqrt(a.v[3])}}; }
GEN3D_INLINE Float floor(Float a) {  // SSE2 has no rounding: through integers, with what does not fit cut off
  a = min(max(a, broadcast(-1e9f)), broadcast(1e9f));
  const Native whole = __builtin_convertvector(__builtin_convertvector(a.v, NativeInt), Native);
  return Float{whole} - keep({a.v < whole}, broadcast(1.0f));
}
GEN3D_INLINE Float flip_sign(Mask m, Float a) {
  return {reinterpret_cast<Native>(reinterpret_cast<NativeInt>(a.v) ^ (m.v & INT32_MIN))};
}
GEN3D_INLINE Float swap_pairs(Float a) { return {Native{a.v[1], a.v[0], a.v[3], a.v[2]}}; }
GEN3D_INLINE Float reciprocal(Float a) { return broadcast(1.0f) / a; }
GEN3D_INLINE Float shift_into_exponent(Float mantissa, Float rounded) {
  return {reinterpret_cast<Native>(reinterpret_cast<NativeInt>(mantissa.v) + (reinterpret_cast<NativeInt>(rounded.v) << 23))};
}
GEN3D_INLINE void store_truncated(int32_t* p, Float a) {
  const NativeInt whole = __builtin_convertvector(a.v, NativeInt);
  std::memcpy(p, &whole, sizeof whole);
}
GEN3D_INLINE Float compress(Mask m, Float a) {
  Float packed = a;
  for (int i = 0, filled = 0; i < LANES; i++) {
    packed.v[filled] = a.v[i];
    filled += m.v[i] & (filled < LANES - 1);
  }
  return packed;
}
GEN3D_INLINE int count(Mask m) { return -(m.v[0] + m.v[1] + m.v[2] + m.v[3]); }

#endif

// out[k] = sum over the lanes of values[k], k < 4
GEN3D_INLINE void sum_four(const Float* values, float* out) {
#if defined(GEN3D_AVX512) || defined(GEN3D_AVX2)
  const __m256 ab = _mm256_hadd_ps(halves(values[0]), halves(values[1])), cd = _mm256_hadd_ps(halves(values[2]), halves(values[3]));
  const __m256 all = _mm256_hadd_ps(ab, cd);
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
#else
  for (int k = 0; k < 4; k++) out[k] = (values[k].v[0] + values[k].v[2]) + (values[k].v[1] + values[k].v[3]);
#endif
}

// The same for COUNT values; `out` has room for a multiple of 4.
template <int COUNT>
GEN3D_INLINE void sum_each(const Float* values, float* out) {
  for (int k = 0; k < COUNT; k += 4) {
    Float four[4];
    for (int i = 0; i < 4; i++) four[i] = values[k + i < COUNT ? k + i : COUNT - 1];
    sum_four(four, out + k);
  }
}

GEN3D_INLINE float sum(Float a) {
  float out[4];
  sum_each<1>(&a, out);
  return out[0];
}

GEN3D_INLINE Float operator-(Float a) { return broadcast(0.0f) - a; }
GEN3D_INLINE Float abs(Float a) { return max(a, -a); }
GEN3D_INLINE Float operator*(float a, Float b) { return broadcast(a) * b; }
GEN3D_INLINE Float operator+(Float a, float b) { return a + broadcast(b); }
GEN3D_INLINE Float operator-(Float a, float b) { return a - broadcast(b); }
GEN3D_INLINE Float operator-(float a, Float b) { return broadcast(a) - b; }
GEN3D_INLINE Float& operator+=(Float& a, Float b) { return a = a + b; }
GEN3D_INLINE Float ceil(Float a) { return -floor(-a); }
GEN3D_INLINE Float square(Float a) { return a * a; }

struct LaneNumbers {
  float v[LANES];
  constexpr LaneNumbers() : v() {
    for (int i = 0; i < LANES; i++) v[i] = static_cast<float>(i);
  }
};
alignas(64) constexpr LaneNumbers LANE_NUMBERS{};
GEN3D_INLINE Float lane_numbers() { return load(LANE_NUMBERS.v); }

// 2^p for p in [-126, 127], relative error 2e-7: a minimax polynomial on [-1/2, 1/2] and the exponent's bits. Other p give rubbish.
GEN3D_INLINE Float exp2(Float p) {
  const Float round = broadcast(12582912.0f);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  Float shifted = p + round;
  Float f = p - (shifted - round);
  Float r = fma(broadcast(0.0013264727f), f, broadcast(0.009671513f));
  r = fma(r, f, broadcast(0.055507336f));
  r = fma(r, f, broadcast(0.24022242f));
  r = fma(r, f, broadcast(0.693147f));
  r = fma(r, f, broadcast(1.0f));
  return shift_into_exponent(r, shifted);
}

}  // namespace gen3d
