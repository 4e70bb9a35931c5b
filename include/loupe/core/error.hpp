// Errors. Every message says what was expected, what was found and where (file, tensor, byte, line).
#pragma once

#include <stdexcept>

namespace loupe {

/// Bad input: a file, a text, ids or sizes that do not fit. The program ends with exit code 1.
class error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// A result could not be written (full disk, missing folder). The program ends with exit code 3.
class output_error : public error {
  public:
    using error::error;
};

} // namespace loupe
