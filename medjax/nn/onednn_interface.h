// The part of oneDNN 3's C interface, which it keeps stable, that onednn.cc uses: its Python package
// brings no headers. Numbers are those of its dnnl_types.h. OpenMP's threads are oneDNN's.

#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {
typedef int64_t dnnl_dims_t[12];
typedef struct dnnl_engine* dnnl_engine_t;
typedef struct dnnl_stream* dnnl_stream_t;
typedef struct dnnl_memory* dnnl_memory_t;
typedef struct dnnl_memory_desc* dnnl_memory_desc_t;
typedef struct dnnl_primitive* dnnl_primitive_t;
typedef struct dnnl_primitive_desc* dnnl_primitive_desc_t;
typedef struct dnnl_primitive_attr* dnnl_primitive_attr_t;
struct dnnl_exec_arg_t {
  int arg;
  dnnl_memory_t memory;
};
void omp_set_num_threads(int);
int omp_get_max_threads(void);
int dnnl_engine_create(dnnl_engine_t*, int kind, size_t index);
int dnnl_stream_create(dnnl_stream_t*, dnnl_engine_t, unsigned flags);
int dnnl_stream_wait(dnnl_stream_t);
int dnnl_memory_create(dnnl_memory_t*, const dnnl_memory_desc*, dnnl_engine_t, void*);
int dnnl_memory_destroy(dnnl_memory_t);
int dnnl_memory_desc_create_with_strides(dnnl_memory_desc_t*, int, const dnnl_dims_t, int type,
                                         const dnnl_dims_t);
int dnnl_memory_desc_create_with_tag(dnnl_memory_desc_t*, int, const dnnl_dims_t, int type,
                                     int tag);
int dnnl_memory_desc_clone(dnnl_memory_desc_t*, const dnnl_memory_desc*);
int dnnl_memory_desc_equal(const dnnl_memory_desc*, const dnnl_memory_desc*);
size_t dnnl_memory_desc_get_size(const dnnl_memory_desc*);
int dnnl_primitive_attr_create(dnnl_primitive_attr_t*);
int dnnl_primitive_attr_set_scratchpad_mode(dnnl_primitive_attr_t, int mode);
int dnnl_convolution_forward_primitive_desc_create(
    dnnl_primitive_desc_t*, dnnl_engine_t, int propagation, int algorithm, const dnnl_memory_desc*,
    const dnnl_memory_desc*, const dnnl_memory_desc*, const dnnl_memory_desc*, const dnnl_dims_t,
    const dnnl_dims_t, const dnnl_dims_t, const dnnl_dims_t, const dnnl_primitive_attr*);
int dnnl_convolution_backward_data_primitive_desc_create(
    dnnl_primitive_desc_t*, dnnl_engine_t, int algorithm, const dnnl_memory_desc*,
    const dnnl_memory_desc*, const dnnl_memory_desc*, const dnnl_dims_t, const dnnl_dims_t,
    const dnnl_dims_t, const dnnl_dims_t, const dnnl_primitive_desc*, const dnnl_primitive_attr*);
int dnnl_convolution_backward_weights_primitive_desc_create(
    dnnl_primitive_desc_t*, dnnl_engine_t, int algorithm, const dnnl_memory_desc*,
    const dnnl_memory_desc*, const dnnl_memory_desc*, const dnnl_memory_desc*, const dnnl_dims_t,
    const dnnl_dims_t, const dnnl_dims_t, const dnnl_dims_t, const dnnl_primitive_desc*,
    const dnnl_primitive_attr*);
int dnnl_reorder_primitive_desc_create(dnnl_primitive_desc_t*, const dnnl_memory_desc*,
                                       dnnl_engine_t, const dnnl_memory_desc*, dnnl_engine_t,
                                       const dnnl_primitive_attr*);
int dnnl_primitive_desc_query(const dnnl_primitive_desc*, int what, int index, void* result);
const dnnl_memory_desc* dnnl_primitive_desc_query_md(const dnnl_primitive_desc*, int what,
                                                     int index);
int dnnl_primitive_desc_destroy(dnnl_primitive_desc_t);
int dnnl_primitive_create(dnnl_primitive_t*, const dnnl_primitive_desc*);
int dnnl_primitive_execute(const dnnl_primitive*, dnnl_stream_t, int count,
                           const dnnl_exec_arg_t*);
}

namespace onednn {

constexpr int kCpu = 1, kInOrder = 1, kFloat32 = 3, kByte = 6, kAnyLayout = 1, kPlain = 2;
constexpr int kTraining = 64, kDirect = 1, kOwnScratch = 1;
constexpr int kImplementation = 8, kWeights = 131, kWeightsGradient = 132, kScratch = 136;
constexpr int kSource = 1, kResult = 17, kScratchArgument = 80;

}  // namespace onednn
