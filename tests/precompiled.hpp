// What most tests include, read once. A test includes what it needs all the same.
#pragma once

#include <loupe/core/compat/catch2.hpp>
#include <loupe/loupe.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <random>
