// GGUF containers, one file or two parts: opening, every key by every question, every tensor's values.
#include "fuzz.hpp"
#include "tensors.hpp"

#include <loupe/io/gguf.hpp>

void fuzz::gguf(std::string_view input) {
    const auto files = parts(input);
    const auto path = put("x-00001-of-00002.gguf", files[0]);
    put("x-00002-of-00002.gguf", part(files, 1, {}));
    const auto file = loupe::io::gguf::open(path);
    require(file.version == 2 || file.version == 3, "version 2 or 3");
    for (const std::string& key : file.keys()) {
        const auto ask = [&](auto&& question) { // a number may be too large for an index_t
            try {
                use(question());
            } catch (const loupe::error&) {
            }
        };
        require(file.contains(key), "a key of the file is in the file");
        ask([&] { return file.type_of(key); });
        ask([&] { return file.integer(key); });
        ask([&] { return file.number(key); });
        ask([&] { return file.boolean(key); });
        ask([&] { return file.numbers(key); });
        ask([&] { return file.integers(key); });
        ask([&] { return file.per_layer(key, 4); });
        if (const auto* t = file.text(key)) use(*t);
        if (const auto* t = file.texts(key)) use(t->size());
    }
    for (const loupe::io::tensor& t : file.tensors()) require(file.find(t.name) == &t, "a tensor is found by its name");
    read_values(file.tensors());
}
