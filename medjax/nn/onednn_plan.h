// A convolution described in a row of numbers, and made ready for oneDNN.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "onednn_interface.h"

namespace onednn {

using Numbers = std::vector<int64_t>;

enum Kind { kForward = 0, kInputGradient = 1, kWeightGradient = 2 };

struct Failure {
  int status;
};

inline void Check(int status) {
  if (status != 0) throw Failure{status};
}

inline dnnl_engine_t Engine() {
  static dnnl_engine_t engine = [] {
    dnnl_engine_t made;
    Check(dnnl_engine_create(&made, kCpu, 0));
    return made;
  }();
  return engine;
}

// How many threads oneDNN takes for what this one plans and runs, while in scope.
class Threads {
 public:
  explicit Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(before_); }

 private:
  const int before_;
};

// A convolution as medjax/nn/onednn.py writes it in a row of numbers.
struct Problem {
  explicit Problem(const Numbers& numbers) {
    auto next = numbers.begin();
    auto take = [&](int count) {
      Numbers taken(next, next + count);
      next += count;
      return taken;
    };
    product = static_cast<Kind>(*next++);
    const int dimensions = static_cast<int>(*next++);
    x = take(dimensions + 2), kernel = take(dimensions + 2), y = take(dimensions + 2);
    strides = take(dimensions), low = take(dimensions), high = take(dimensions);
    holes = take(dimensions);
    for (int64_t& hole : holes) --hole;
  }
  Kind product;
  Numbers x, kernel, y, strides, low, high, holes;
};

inline int64_t Product(const Numbers& sizes) {
  int64_t product = 1;
  for (int64_t size : sizes) product *= size;
  return product;
}

// oneDNN names batch, channel, space in this order, wherever they lie in memory.
inline dnnl_memory_desc_t ImagesOf(const Numbers& shape) {
  const int rank = static_cast<int>(shape.size());
  dnnl_dims_t sizes, strides;
  sizes[1] = shape[rank - 1], strides[1] = 1;
  int64_t step = shape[rank - 1];
  for (int axis = rank - 2; axis >= 0; step *= shape[axis--]) {
    const int there = axis == 0 ? 0 : axis + 1;
    sizes[there] = shape[axis], strides[there] = step;
  }
  dnnl_memory_desc_t made;
  Check(dnnl_memory_desc_create_with_strides(&made, rank, sizes, kFloat32, strides));
  return made;
}

// Feature, channel, window in this order.
inline dnnl_memory_desc_t KernelOf(const Numbers& shape, bool any_layout) {
  const int rank = static_cast<int>(shape.size()), space = rank - 2;
  const int64_t channels = shape[space], features = shape[space + 1];
  dnnl_dims_t sizes, strides;
  sizes[0] = features, strides[0] = 1;
  sizes[1] = channels, strides[1] = features;
  int64_t step = channels * features;
  for (int axis = space - 1; axis >= 0; step *= shape[axis--]) {
    sizes[2 + axis] = shape[axis], strides[2 + axis] = step;
  }
  dnnl_memory_desc_t made;
  Check(any_layout
            ? dnnl_memory_desc_create_with_tag(&made, rank, sizes, kFloat32, kAnyLayout)
            : dnnl_memory_desc_create_with_strides(&made, rank, sizes, kFloat32, strides));
  return made;
}

// A problem made ready. The kernel is brought into the layout that oneDNN wants, or back from it.
// Lives as long as the process: a program's convolutions are few.
struct Plan {
  Plan(const Problem& p, int count) : product(p.product), threads(count) {
    const Threads scope(count);
    x = ImagesOf(p.x), y = ImagesOf(p.y), kernel = KernelOf(p.kernel, false);
    const dnnl_memory_desc_t any = KernelOf(p.kernel, true);
    dnnl_primitive_attr_t options;
    Check(dnnl_primitive_attr_create(&options));
    Check(dnnl_primitive_attr_set_scratchpad_mode(options, kOwnScratch));
    const int64_t *s = p.strides.data(), *d = p.holes.data();
    const int64_t *lo = p.low.data(), *hi = p.high.data();
    dnnl_primitive_desc_t forward, made;
    Check(dnnl_convolution_forward_primitive_desc_create(&forward, Engine(), kTraining, kDirect, x,
                                                         any, nullptr, y, s, d, lo, hi, options));
    made = forward;
    if (product == kInputGradient) {
      Check(dnnl_convolution_backward_data_primitive_desc_create(
          &made, Engine(), kDirect, x, any, y, s, d, lo, hi, forward, options));
    } else if (product == kWeightGradient) {
      Check(dnnl_convolution_backward_weights_primitive_desc_create(
          &made, Engine(), kDirect, x, any, nullptr, y, s, d, lo, hi, forward, options));
    }
    Check(dnnl_primitive_create(&convolution, made));
    const char* implementation;
    Check(dnnl_primitive_desc_query(made, kImplementation, 0, &implementation));
    name = implementation;
    const int asked = product == kWeightGradient ? kWeightsGradient : kWeights;
    Check(dnnl_memory_desc_clone(&wanted, dnnl_primitive_desc_query_md(made, asked, 0)));
    scratch_bytes = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(made, kScratch, 0));
    const dnnl_dims_t size = {static_cast<int64_t>(scratch_bytes) + 1};
    Check(dnnl_memory_desc_create_with_tag(&scratch, 1, size, kByte, kPlain));
    if (!dnnl_memory_desc_equal(kernel, wanted)) {
      const bool back = product == kWeightGradient;
      dnnl_primitive_desc_t moved;
      Check(dnnl_reorder_primitive_desc_create(&moved, back ? wanted : kernel, Engine(),
                                               back ? kernel : wanted, Engine(), nullptr));
      Check(dnnl_primitive_create(&reorder, moved));
      kernel_bytes = dnnl_memory_desc_get_size(wanted);
    }
  }
  Kind product;
  int threads;
  std::string name;
  dnnl_primitive_t convolution, reorder = nullptr;
  dnnl_memory_desc_t x, kernel, y, wanted, scratch;
  size_t kernel_bytes = 0, scratch_bytes = 0;
};

inline const Plan& PlanOf(const Problem& problem, int threads) {
  static std::mutex mutex;
  static auto* plans = new std::map<Numbers, std::unique_ptr<Plan>>;
  Numbers key{problem.product, threads};
  for (const Numbers* part : {&problem.x, &problem.kernel, &problem.y, &problem.strides,
                              &problem.low, &problem.high, &problem.holes}) {
    key.insert(key.end(), part->begin(), part->end());
  }
  std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Plan>& plan = (*plans)[key];
  if (plan == nullptr) plan = std::make_unique<Plan>(problem, threads);
  return *plan;
}

}  // namespace onednn
