#!/bin/sh
# Installs the library to a folder and builds a program against it with find_package.
set -eu
cd "$(dirname "$0")/.."
rm -rf build/consumer
mkdir -p build/consumer
cmake --install build --prefix "$PWD/build/consumer/prefix" >/dev/null
cat > build/consumer/CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.25)
project(consumer CXX)
find_package(loupe 0.1 REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE loupe::loupe)
C
cat > build/consumer/main.cpp <<'C'
#include <loupe/model/nano.hpp>
#include <cstdio>
int main() { std::puts(loupe::diff<loupe::nano::e, loupe::with<loupe::nano::e, loupe::slot::rope_full<loupe::rope::none>>>().c_str()); }
C
cmake -S build/consumer -B build/consumer/build -G Ninja -DCMAKE_PREFIX_PATH="$PWD/build/consumer/prefix" >/dev/null
cmake --build build/consumer/build >/dev/null
build/consumer/build/consumer | grep "rope_full: rope::proportional<> → rope::none"
