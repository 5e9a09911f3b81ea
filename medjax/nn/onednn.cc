// The three products of a convolution by oneDNN, callable from XLA's CPU programs.
//
// medjax/nn/onednn_library.py compiles this file on the machine it runs on, against the headers of
// XLA's foreign function interface, which come with jaxlib. Arrays are float32, channels last:
// [batch, *space, channel] and [*window, channel, feature].

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "onednn_plan.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using namespace onednn;

// What oneDNN calls x, kernel and y in each product.
struct Arguments {
  int x, kernel, y;
};
constexpr Arguments kArguments[] = {{1, 33, 17}, {129, 33, 145}, {1, 161, 145}};

dnnl_stream_t Stream() {
  thread_local dnnl_stream_t stream = [] {
    dnnl_stream_t made;
    Check(dnnl_stream_create(&made, Engine(), kInOrder));
    return made;
  }();
  return stream;
}

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
