// Threads that help if they can. The caller works through its own tasks and never waits for a helper that has not started, so a
// busy machine cannot make a call slower than one thread would be. Any number of callers may run at once.
#pragma once
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>

namespace gen3d {

class Pool {
 public:
  // The process's pool. It is never destroyed: helpers may still sleep in it while the process ends.
  static Pool& shared() {
    static const int registered = pthread_atfork(nullptr, nullptr, [] { instance().store(nullptr); });
    (void)registered;
    Pool* pool = instance().load();
    if (pool == nullptr) {
      Pool* fresh = new Pool;
      // A forked child has no helpers, so it starts a new pool and forgets the one whose locks it may have copied shut.
      if (instance().compare_exchange_strong(pool, fresh)) return *fresh;
      delete fresh;
    }
    return *pool;
  }

  // Call task(0) ... task(count - 1), each once, in any order, on at most `threads` threads; rethrows the first exception.
  template <class Task>
  void run(int count, int threads, const Task& task) {
    if (threads <= 1 || count <= 1) {
      for (int i = 0; i < count; i++) task(i);
      return;
    }
    Job job{std::function<void(int)>(std::cref(task)), count, (threads < count ? threads : count) - 1};
    std::list<Job*>::iterator place;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      start_helpers(job.vacancies);
      place = jobs_.insert(jobs_.end(), &job);
    }
    wake_.notify_all();
    job.work();
    std::unique_lock<std::mutex> lock(mutex_);
    jobs_.erase(place);
    job.finished.wait(lock, [&] { return job.helpers == 0; });
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  struct Job {
    std::function<void(int)> task;
    int count;
    int vacancies;
    int helpers = 0;
    std::atomic<int> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error{};
    std::condition_variable finished{};

    void work() {
      try {
        for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(i);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
        next.store(count);
      }
    }
  };

  static std::atomic<Pool*>& instance() {
    static std::atomic<Pool*> pool{nullptr};
    return pool;
  }

  void start_helpers(int wanted) {
    try {
      for (; started_ < wanted; started_++) std::thread([this] { help(); }).detach();
    } catch (const std::system_error&) {
      // No more threads can be had; the caller does the work.
    }
  }

  Job* open_job() {
    for (Job* job : jobs_)
      if (job->vacancies > 0 && job->next.load(std::memory_order_relaxed) < job->count) return job;
    return nullptr;
  }

  void help() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      wake_.wait(lock, [&] { return (job = open_job()) != nullptr; });
      job->vacancies--;
      job->helpers++;
      lock.unlock();
      job->work();
      lock.lock();
      if (--job->helpers == 0) job->finished.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Job*> jobs_;
  int started_ = 0;
};

}  // namespace gen3d
