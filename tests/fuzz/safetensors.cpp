// Safetensors: one file, or an index and two shards.
#include "fuzz.hpp"
#include "tensors.hpp"

#include <loupe/io/safetensors.hpp>

void fuzz::safetensors(std::string_view input) {
    const auto files = parts(input);
    if (files.size() == 1) {
        read_values(loupe::io::safetensors::open(put("model.safetensors", input)).tensors());
        return;
    }
    const auto index = put("x.index.json", files[0]);
    put("a.safetensors", files[1]);
    put("b.safetensors", part(files, 2, {}));
    const auto file = loupe::io::safetensors::open(index);
    for (const loupe::io::tensor& t : file.tensors()) require(file.find(t.name) == &t, "a tensor is found by its name");
    read_values(file.tensors());
}
