// Figures as text, JSON and HTML.
#pragma once

#include <loupe/lab/result.hpp>

#include <string>

namespace program {

std::string text_of(const loupe::lab::report& r);
std::string json_of(const loupe::lab::report& r);
std::string html_of(const loupe::lab::report& r);
/// What `score` says of the stock model.
std::string score_text(const loupe::lab::report& r, double standard_error);
std::string score_json(const loupe::lab::report& r, double standard_error);

} // namespace program
