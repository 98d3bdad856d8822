// What crosses the border to Python: plain structures of numbers and pointers, mirrored field by field in library.py.
// All arrays are contiguous; float means 32 bits.
#pragma once
#include <cstdint>

struct Gen3dSettings {
  float near_depth, far_depth;
  float eps2d;
  float alpha_max, alpha_min, transmittance_min;
  float frustum_margin;
  int32_t antialias;
  int32_t absgrad;  // gradients of screen offsets add up magnitudes over pixels
};

struct Gen3dSplats {  // one scene
  int64_t count;
  int32_t coefficients;  // of the harmonics: 1, 4, 9 or 16
  int32_t features;      // extra channels besides colour: 0, 1 or 4
  const float* means;
  const float* scales;
  const float* quats;
  const float* opacities;
  const float* sh;
};

struct Gen3dView {
  int32_t width, height;
  const float* world_to_camera;  // 4x4, row-major
  const float* intrinsics;       // 3x3
  const float* background;       // 3
  const float* features;         // count x features, or null
  const float* screen_offsets;   // count x 2, or null
};

struct Gen3dImages {
  float* rgb;           // height x width x 3
  float* alpha;         // height x width
  float* features;      // height x width x features, or null
  float* median_depth;  // height x width, or null
  int32_t* radii;       // count x 2
};

struct Gen3dImageGradients {
  const float* rgb;       // the picture that was drawn, and then dL/d of each image
  const float* features;  // or null
  const float* v_rgb;
  const float* v_alpha;
  const float* v_features;  // or null
};

struct Gen3dGradients {
  int32_t accumulate;  // add to what is there (a further view of the scene) instead of writing
  float* means;
  float* scales;
  float* quats;
  float* opacities;
  float* sh;
  float* background;       // 3, of this view
  float* features;         // of this view, or null
  float* screen_offsets;   // of this view, or null
  float* world_to_camera;  // 4x4 of this view, or null
};

#pragma GCC visibility push(default)
extern "C" {
const char* gen3d_source_hash();
const char* gen3d_instructions();  // what this library was compiled for
const char* gen3d_best_library();  // the name of the fastest library that this processor runs

void* gen3d_workspace_new();  // null when memory is exhausted
void gen3d_workspace_delete(void*);
void* gen3d_frame_new();
void gen3d_frame_delete(void*);

// All return 0, or 1 when memory is exhausted.
int gen3d_forward(void* workspace, void* frame, const Gen3dSplats*, const Gen3dView*, const Gen3dSettings*, const Gen3dImages*,
                  int threads);
int gen3d_backward(void* workspace, const void* frame, const Gen3dSplats*, const Gen3dView*, const Gen3dSettings*,
                   const Gen3dImageGradients*, const Gen3dGradients*, int threads);
int gen3d_similarity(int64_t images, int64_t height, int64_t width, const float* image, const float* target, const float* weights,
                     float* gradient_maps, double* sums, int threads);
int gen3d_similarity_backward(int64_t images, int64_t height, int64_t width, const float* image, const float* target,
                              const float* weights, const float* gradient_maps, float l1_scale, float ssim_scale, float* gradient,
                              int threads);
}
#pragma GCC visibility pop
