// Catch2 2 (one header) and 3 (many) under one name. For tests only.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#define LOUPE_CATCH2_MAJOR 3
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#define LOUPE_CATCH2_MAJOR 2
#endif
