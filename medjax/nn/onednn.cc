// The three products of a convolution by oneDNN, callable from XLA's CPU programs.
//
// medjax/nn/onednn_library.py compiles this file on the machine it runs on, against the headers of
// XLA's foreign function interface, which come with jaxlib. oneDNN 3 keeps its C interface stable;
// the part used here is declared below, because its Python package brings no headers.
// Arrays are float32, channels last: [batch, *space, channel] and [*window, channel, feature].

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "xla/ffi/api/ffi.h"

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

namespace {

namespace ffi = xla::ffi;
using Numbers = std::vector<int64_t>;

constexpr int kCpu = 1, kInOrder = 1, kFloat32 = 3, kByte = 6, kAnyLayout = 1, kPlain = 2;
constexpr int kTraining = 64, kDirect = 1, kOwnScratch = 1;
constexpr int kImplementation = 8, kWeights = 131, kWeightsGradient = 132, kScratch = 136;
constexpr int kSource = 1, kResult = 17, kScratchArgument = 80;

enum Kind { kForward = 0, kInputGradient = 1, kWeightGradient = 2 };

// What oneDNN calls x, kernel and y in each product; the result is marked by medjax's caller.
struct Arguments {
  int x, kernel, y;
};
constexpr Arguments kArguments[] = {{1, 33, 17}, {129, 33, 145}, {1, 161, 145}};

struct Failure {
  int status;
};

void Check(int status) {
  if (status != 0) throw Failure{status};
}

dnnl_engine_t Engine() {
  static dnnl_engine_t engine = [] {
    dnnl_engine_t made;
    Check(dnnl_engine_create(&made, kCpu, 0));
    return made;
  }();
  return engine;
}

dnnl_stream_t Stream() {
  thread_local dnnl_stream_t stream = [] {
    dnnl_stream_t made;
    Check(dnnl_stream_create(&made, Engine(), kInOrder));
    return made;
  }();
  return stream;
}

// How many threads oneDNN takes for what this one plans and runs, while in scope.
class Threads {
 public:
  explicit Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(before_); }

 private:
  const int before_;
};

// Memory that a thread keeps from call to call, as large as was ever wanted.
class Kept {
 public:
  ~Kept() { std::free(memory_); }
  char* AtLeast(size_t bytes) {
    if (bytes > size_) {
      std::free(memory_);
      size_ = 0;
      memory_ = std::aligned_alloc(4096, bytes + (-bytes & 4095));
      if (memory_ == nullptr) throw std::bad_alloc();
      size_ = bytes;
    }
    return static_cast<char*>(memory_);
  }

 private:
  void* memory_ = nullptr;
  size_t size_ = 0;
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
    groups = *next++;
    dimensions = static_cast<int>(*next++);
    x = take(dimensions + 2), kernel = take(dimensions + 2), y = take(dimensions + 2);
    strides = take(dimensions), low = take(dimensions), high = take(dimensions);
    holes = take(dimensions);
    for (int64_t& hole : holes) --hole;
  }
  Kind product;
  int64_t groups;
  int dimensions;
  Numbers x, kernel, y, strides, low, high, holes;
};

int64_t Product(const Numbers& sizes) {
  int64_t product = 1;
  for (int64_t size : sizes) product *= size;
  return product;
}

// oneDNN names batch, channel, space in this order, wherever they lie in memory.
dnnl_memory_desc_t ImagesOf(const Numbers& shape) {
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

// Group (of several), feature, channel, window in this order.
dnnl_memory_desc_t KernelOf(const Numbers& shape, int64_t groups, bool any_layout) {
  const int space = static_cast<int>(shape.size()) - 2, first = groups > 1 ? 1 : 0;
  const int64_t channels = shape[space], features = shape[space + 1];
  dnnl_dims_t sizes, strides;
  if (groups > 1) sizes[0] = groups, strides[0] = features / groups;
  sizes[first] = features / groups, strides[first] = 1;
  sizes[first + 1] = channels, strides[first + 1] = features;
  int64_t step = channels * features;
  for (int axis = space - 1; axis >= 0; step *= shape[axis--]) {
    sizes[first + 2 + axis] = shape[axis], strides[first + 2 + axis] = step;
  }
  const int rank = first + 2 + space;
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
    x = ImagesOf(p.x), y = ImagesOf(p.y), kernel = KernelOf(p.kernel, p.groups, false);
    const dnnl_memory_desc_t any = KernelOf(p.kernel, p.groups, true);
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

const Plan& PlanOf(const Problem& problem, int threads) {
  static std::mutex mutex;
  static auto* plans = new std::map<Numbers, std::unique_ptr<Plan>>;
  Numbers key{problem.product, problem.groups, threads};
  for (const Numbers* part : {&problem.x, &problem.kernel, &problem.y, &problem.strides,
                              &problem.low, &problem.high, &problem.holes}) {
    key.insert(key.end(), part->begin(), part->end());
  }
  std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Plan>& plan = (*plans)[key];
  if (plan == nullptr) plan = std::make_unique<Plan>(problem, threads);
  return *plan;
}

class Memory {
 public:
  Memory(dnnl_memory_desc_t shape, void* data) {
    Check(dnnl_memory_create(&memory_, shape, Engine(), data));
  }
  ~Memory() { dnnl_memory_destroy(memory_); }
  operator dnnl_memory_t() const { return memory_; }

 private:
  dnnl_memory_t memory_;
};

void Run(dnnl_primitive_t primitive, std::initializer_list<dnnl_exec_arg_t> arguments) {
  Check(dnnl_primitive_execute(primitive, Stream(), static_cast<int>(arguments.size()),
                               arguments.begin()));
}

// One product on the threads that its plan was made for; oneDNN's own are OpenMP's.
void Convolve(const Plan& plan, void* x, void* kernel, void* y) {
  thread_local Kept kept;
  const Threads threads(plan.threads);
  const size_t room = plan.kernel_bytes + (-plan.kernel_bytes & 4095);
  char* own = kept.AtLeast(room + plan.scratch_bytes + 1);
  const Memory xs(plan.x, x), ys(plan.y, y), given(plan.kernel, kernel);
  const Memory wanted(plan.wanted, plan.reorder != nullptr ? own : kernel);
  const Memory scratch(plan.scratch, own + room);
  const Arguments& names = kArguments[plan.product];
  const bool back = plan.product == kWeightGradient;
  if (plan.reorder != nullptr && !back) {
    Run(plan.reorder, {{kSource, given}, {kResult, wanted}});
  }
  Run(plan.convolution,
      {{names.x, xs}, {names.kernel, wanted}, {names.y, ys}, {kScratchArgument, scratch}});
  if (plan.reorder != nullptr && back) Run(plan.reorder, {{kSource, wanted}, {kResult, given}});
  Check(dnnl_stream_wait(Stream()));
}

// Parts of a job that any thread may take, the one that waits for them first of all.
class Job {
 public:
  Job(int parts, std::function<void(int)> part) : parts_(parts), part_(std::move(part)) {}
  void Help() {
    for (int i; (i = next_.fetch_add(1)) < parts_;) {
      try {
        part_(i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex_);
        failure_ = std::current_exception();
      }
      std::lock_guard<std::mutex> lock(mutex_);
      if (++done_ == parts_) all_done_.notify_all();
    }
  }
  void Finish() {
    Help();
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [&] { return done_ == parts_; });
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  const int parts_;
  const std::function<void(int)> part_;
  std::atomic<int> next_{0};
  int done_ = 0;
  std::mutex mutex_;
  std::condition_variable all_done_;
  std::exception_ptr failure_;
};

// The batch in parts, each on one thread of XLA's. OpenMP's threads beside XLA's would be more than
// there are cores, and wait for one another whenever one of them is put aside.
void ConvolveInParts(const Problem& whole, int parts, ffi::ThreadPool pool, float* x,
                     float* kernel, float* y) {
  const int64_t images = whole.x[0], kernel_size = Product(whole.kernel);
  const int64_t x_size = Product(whole.x) / images, y_size = Product(whole.y) / images;
  const bool summed = whole.product == kWeightGradient;
  std::vector<float> partial(summed ? (parts - 1) * kernel_size : 0);
  auto job = std::make_shared<Job>(parts, [&, images](int i) {
    const int64_t first = images * i / parts, last = images * (i + 1) / parts;
    Problem part = whole;
    part.x[0] = part.y[0] = last - first;
    float* own = summed && i > 0 ? partial.data() + (i - 1) * kernel_size : kernel;
    Convolve(PlanOf(part, 1), x + first * x_size, own, y + first * y_size);
  });
  for (int i = 1; i < parts; ++i) pool.Schedule([job] { job->Help(); });
  job->Finish();
  for (int i = 1; summed && i < parts; ++i) {
    const float* added = partial.data() + (i - 1) * kernel_size;
    for (int64_t k = 0; k < kernel_size; ++k) kernel[k] += added[k];
  }
}

ffi::Error Called(ffi::ThreadPool pool, ffi::Span<const int64_t> numbers, ffi::AnyBuffer first,
                  ffi::AnyBuffer second, ffi::Result<ffi::AnyBuffer> result) {
  try {
    const Problem problem(Numbers(numbers.begin(), numbers.end()));
    auto* a = static_cast<float*>(first.untyped_data());
    auto* b = static_cast<float*>(second.untyped_data());
    auto* c = static_cast<float*>(result->untyped_data());
    float* x = problem.product == kInputGradient ? c : a;
    float* kernel = problem.product == kWeightGradient ? c : b;
    float* y = problem.product == kForward ? c : problem.product == kInputGradient ? a : b;
    const int threads = std::max<int64_t>(1, pool.num_threads());
    if (problem.x[0] >= threads) {
      ConvolveInParts(problem, threads, pool, x, kernel, y);
    } else {
      Convolve(PlanOf(problem, threads), x, kernel, y);
    }
    return ffi::Error::Success();
  } catch (const Failure& failure) {
    return ffi::Error::Internal("oneDNN: status " + std::to_string(failure.status));
  } catch (const std::exception& failure) {
    return ffi::Error::Internal(std::string("oneDNN: ") + failure.what());
  }
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(medjax_convolution, Called,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<ffi::Span<const int64_t>>("problem")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

// The name of the code that oneDNN has for a problem, or none.
extern "C" bool medjax_convolution_code(const int64_t* numbers, int64_t count, char* name,
                                        int64_t room) {
  try {
    const Plan& plan = PlanOf(Problem(Numbers(numbers, numbers + count)), 1);
    std::strncpy(name, plan.name.c_str(), room - 1);
    name[room - 1] = 0;
    return true;
  } catch (...) {
    return false;
  }
}
