// The C interface. One source, compiled once per instruction set; library.py loads the best build that the processor runs.
#include <exception>

#include "blend_backward.h"
#include "projection_backward.h"
#include "similarity.h"

#ifndef GEN3D_SOURCE_HASH
#define GEN3D_SOURCE_HASH "unknown"
#endif

namespace {

using namespace gen3d;

constexpr int SMALL_TILE = 32;
constexpr int FEW_TILES = 4;  // with fewer tiles, two threads could not share the work

template <class Call>
int guarded(const Call& call) {
  try {
    call();
    return 0;
  } catch (const std::exception&) {
    return 1;  // only memory can run out
  }
}

void lay_tiles(const Gen3dView& view, Frame& frame) {
  for (frame.tile = MAX_TILE;; frame.tile = SMALL_TILE) {
    frame.tile_columns = (view.width + frame.tile - 1) / frame.tile;
    frame.tile_rows = (view.height + frame.tile - 1) / frame.tile;
    if (frame.tile == SMALL_TILE || frame.tiles() >= FEW_TILES) return;
  }
}

template <int FEATURES>
void forward(Workspace& work, Frame& frame, const Gen3dSplats& splats, const Gen3dView& view, const Gen3dSettings& settings,
             const Gen3dImages& images, int threads) {
  lay_tiles(view, frame);
  auto projection = project<FEATURES, 1>;
  if (splats.coefficients == 4) projection = project<FEATURES, 4>;
  if (splats.coefficients == 9) projection = project<FEATURES, 9>;
  if (splats.coefficients == 16) projection = project<FEATURES, 16>;
  projection(splats, view, settings, work, frame, images.radii, threads);
  deal_to_tiles<3 + FEATURES>(splats.count, work, frame, threads);
  const auto blending = images.median_depth != nullptr ? blend<FEATURES, true> : blend<FEATURES, false>;
  blending(view, settings, frame, images, threads);
}

template <int FEATURES>
void backward(Workspace& work, const Frame& frame, const Gen3dSplats& splats, const Gen3dView& view, const Gen3dSettings& settings,
              const Gen3dImageGradients& images, const Gen3dGradients& gradients, int threads) {
  const bool absgrad = settings.absgrad && gradients.screen_offsets != nullptr;
  blend_backward<FEATURES>(view, settings, frame, images, work, gradients.background, absgrad, threads);
  auto projection = project_backward<FEATURES, 1>;
  if (splats.coefficients == 4) projection = project_backward<FEATURES, 4>;
  if (splats.coefficients == 9) projection = project_backward<FEATURES, 9>;
  if (splats.coefficients == 16) projection = project_backward<FEATURES, 16>;
  projection(splats, view, settings, frame, work, gradients, threads);
}

}  // namespace

const char* gen3d_source_hash() { return GEN3D_SOURCE_HASH; }

const char* gen3d_instructions() {
#if defined(GEN3D_AVX512)
  return "AVX-512";
#elif defined(GEN3D_AVX2)
  return "AVX2";
#elif defined(__x86_64__)
  return "SSE2";
#elif defined(__ARM_NEON)
  return "NEON";
#else
  return "portable";
#endif
}

const char* gen3d_best_library() {
#if defined(__x86_64__)
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return v4 ? "gen3d_avx512" : v3 ? "gen3d_avx2" : "gen3d_baseline";
#else
  return "gen3d_baseline";
#endif
}

void* gen3d_workspace_new() { return new (std::nothrow) Workspace; }
void gen3d_workspace_delete(void* workspace) { delete static_cast<Workspace*>(workspace); }
void* gen3d_frame_new() { return new (std::nothrow) Frame; }
void gen3d_frame_delete(void* frame) { delete static_cast<Frame*>(frame); }

int gen3d_forward(void* workspace, void* frame, const Gen3dSplats* splats, const Gen3dView* view, const Gen3dSettings* settings,
                  const Gen3dImages* images, int threads) {
  return guarded([&] {
    const auto pass = splats->features == 0 ? forward<0> : splats->features == 1 ? forward<1> : forward<4>;
    pass(*static_cast<Workspace*>(workspace), *static_cast<Frame*>(frame), *splats, *view, *settings, *images, threads);
  });
}

int gen3d_backward(void* workspace, const void* frame, const Gen3dSplats* splats, const Gen3dView* view, const Gen3dSettings* settings,
                   const Gen3dImageGradients* images, const Gen3dGradients* gradients, int threads) {
  return guarded([&] {
    const auto pass = splats->features == 0 ? backward<0> : splats->features == 1 ? backward<1> : backward<4>;
    pass(*static_cast<Workspace*>(workspace), *static_cast<const Frame*>(frame), *splats, *view, *settings, *images, *gradients, threads);
  });
}

int gen3d_similarity(int64_t images, int64_t height, int64_t width, const float* image, const float* target, const float* weights,
                     float* gradient_maps, double* sums, int threads) {
  return guarded([&] { similarity(images, height, width, image, target, weights, gradient_maps, sums, threads); });
}

int gen3d_similarity_backward(int64_t images, int64_t height, int64_t width, const float* image, const float* target,
                              const float* weights, const float* gradient_maps, float l1_scale, float ssim_scale, float* gradient,
                              int threads) {
  return guarded([&] {
    similarity_backward(images, height, width, image, target, weights, gradient_maps, l1_scale, ssim_scale, gradient, threads);
  });
}
