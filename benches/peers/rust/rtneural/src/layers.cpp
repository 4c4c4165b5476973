// The networks of RTNeural whose sizes the cases of a step have. Compiled once for each backend.

#include <memory>
#include <new>
#include <string>

#include "RTNeural/RTNeural.h"
#include "RTNeural/torch_helpers.h"

namespace RTNEURAL_NAMESPACE {
namespace {

struct Network {
    virtual ~Network() = default;
    virtual void reset() = 0;
    virtual void step(const float* x) = 0;
    virtual const float* output() const = 0;
};

template <typename Model>
struct Sized : Network {
    Model model;
    void reset() override { model.reset(); }
    void step(const float* x) override { model.forward(x); }
    const float* output() const override { return model.getOutputs(); }
};

// Loads layer `index`, whose tensors have the names of a network of one layer after its prefix.
template <bool gru, size_t index, typename Model>
void load(Model& model, const nlohmann::json& tensors) {
    auto prefix = std::to_string(index) + ".";
    if constexpr (gru)
        torch_helpers::loadGRU<float>(tensors, prefix, model.template get<index>());
    else
        torch_helpers::loadLSTM<float>(tensors, prefix, model.template get<index>());
}

template <bool gru, int size, int layers>
Network* make(const nlohmann::json& tensors) {
    using Layer = std::conditional_t<gru, GRULayerT<float, size, size>, LSTMLayerT<float, size, size>>;
    if constexpr (layers == 1) {
        auto network = std::make_unique<Sized<ModelT<float, size, size, Layer>>>();
        load<gru, 0>(network->model, tensors);
        return network.release();
    } else {
        auto network = std::make_unique<Sized<ModelT<float, size, size, Layer, Layer>>>();
        load<gru, 0>(network->model, tensors);
        load<gru, 1>(network->model, tensors);
        return network.release();
    }
}

Network* find(bool gru, size_t size, size_t layers, const nlohmann::json& tensors) {
    if (layers == 2 && size == 128 && !gru) return make<false, 128, 2>(tensors);
    if (layers != 1) return nullptr;
    switch (size) {
    case 32: return gru ? make<true, 32, 1>(tensors) : make<false, 32, 1>(tensors);
    case 128: return gru ? make<true, 128, 1>(tensors) : make<false, 128, 1>(tensors);
    case 256: return gru ? make<true, 256, 1>(tensors) : make<false, 256, 1>(tensors);
    case 512: return gru ? make<true, 512, 1>(tensors) : make<false, 512, 1>(tensors);
    case 1024: return gru ? nullptr : make<false, 1024, 1>(tensors);
    default: return nullptr;
    }
}

} // namespace
} // namespace RTNEURAL_NAMESPACE

#define JOIN(a, b) a##_##b
#define NAMED(a, b) JOIN(a, b)
#define EXPORT(name) NAMED(RTNEURAL_NAMESPACE, name)

using RTNEURAL_NAMESPACE::Network;

extern "C" {

// Returns null if no network of the sizes is compiled.
Network* EXPORT(make)(bool gru, size_t size, size_t layers, const char* json) {
    return RTNEURAL_NAMESPACE::find(gru, size, layers, nlohmann::json::parse(json));
}
void EXPORT(reset)(Network* network) { network->reset(); }
void EXPORT(step)(Network* network, const float* x) { network->step(x); }
const float* EXPORT(output)(const Network* network) { return network->output(); }
void EXPORT(drop)(Network* network) { delete network; }
}
