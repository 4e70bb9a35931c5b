// Linked to main.cpp: whatever a header defines without `inline` is now defined twice.
#include <loupe/loupe.hpp>
#include <loupe/ref/decoder.hpp>

extern const loupe::format::info* const of_second_unit;
constinit const loupe::format::info* const of_second_unit = &loupe::format::info_of<loupe::format::q8_0>();
