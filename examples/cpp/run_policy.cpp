// Loads a policy in C++ and prints its action for an observation of zeros, one number a line.
//
//     python -m ppo_grasp.export --out policy.pt
//     T=$(python -c "import torch; print(torch.__path__[0])")
//     g++ -std=c++20 examples/cpp/run_policy.cpp -o run_policy -I$T/include -I$T/include/torch/csrc/api/include \
//         -L$T/lib -Wl,-rpath,$T/lib -ltorch -ltorch_cpu -lc10
//     ./run_policy policy.pt
//
// The torch package of Python has the headers and libraries; libtorch from pytorch.org has the same.

#include <torch/script.h>

#include <cstdio>
#include <cstdlib>
#include <string>

// How many numbers the policy wants: "size" of "observation" in the description that the file carries.
static long observation_size(const std::string& interface) {
  const auto slice = interface.find("\"observation\"");
  const auto size = interface.find("\"size\":", slice == std::string::npos ? interface.size() : slice);
  return size == std::string::npos ? 0 : std::atol(interface.c_str() + size + 7);
}

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "error: which policy? give the file of: python -m ppo_grasp.export --out policy.pt\n");
    return 2;
  }
  try {
    torch::jit::ExtraFilesMap extra{{"interface", ""}};
    torch::jit::Module policy = torch::jit::load(argv[1], torch::kCPU, extra);
    policy.eval();
    const long size = observation_size(extra["interface"]);
    if (size <= 0) {
      std::fprintf(stderr, "error: %s does not say how long an observation is\n", argv[1]);
      return 2;
    }
    const torch::InferenceMode no_gradients;
    const torch::Tensor action = policy.forward({torch::zeros({1, size})}).toTensor().contiguous();
    for (long i = 0; i < action.numel(); ++i) std::printf("%.9g\n", action.data_ptr<float>()[i]);
  } catch (const c10::Error& error) {
    std::fprintf(stderr, "error: %s: %s\n", argv[1], error.what_without_backtrace());
    return 2;
  }
}
