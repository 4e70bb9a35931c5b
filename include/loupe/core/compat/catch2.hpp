// Catch2 2 (one header) and 3 (many) under one name. For tests only.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
#define Contains ContainsSubstring
#else
#include <catch2/catch.hpp>
using Catch::Matchers::Contains;
#endif
