// config.json in all spellings.
#include "fuzz.hpp"

#include <loupe/io/config_json.hpp>

void fuzz::config(std::string_view input) {
    put("config.json", input);
    use(loupe::io::dimensions_from_config(folder()).blocks());
}
