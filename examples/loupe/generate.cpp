#include "commands.hpp"
#include "files.hpp"
#include "kernels.hpp"

#include <loupe/io/chat.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <random>

namespace program {

using namespace loupe;

namespace {

/// Draws a token: the k most likely, of those as many as reach probability p, each by its probability at the temperature.
class sampler {
    const generate_options& options_;
    std::mt19937_64 random_;
    std::vector<token_id> order_;
    std::vector<double> weight_;

  public:
    explicit sampler(const generate_options& o) : options_(o), random_(o.seed) {}

    token_id operator()(std::span<const float> logits) {
        if (options_.greedy) return static_cast<token_id>(std::max_element(logits.begin(), logits.end()) - logits.begin());
        order_.resize(logits.size());
        std::iota(order_.begin(), order_.end(), 0);
        const auto more_likely = [&](token_id a, token_id b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
        std::size_t kept = options_.top_k == 0 ? order_.size() : std::min(order_.size(), static_cast<std::size_t>(options_.top_k));
        std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(kept), order_.end(), more_likely);
        weight_.clear();
        double sum = 0;
        for (std::size_t i = 0; i < kept; ++i) {
            weight_.push_back(
                std::exp((static_cast<double>(logits[order_[i]]) - static_cast<double>(logits[order_[0]])) / options_.temperature));
            sum += weight_.back();
        }
        double reached = 0;
        for (std::size_t i = 0; i < kept; ++i) {
            reached += weight_[i];
            if (reached >= options_.top_p * sum) {
                kept = i + 1;
                break;
            }
        }
        // The same draw on every platform: the standard's distributions are not.
        double draw = static_cast<double>(random_() >> 11) * 0x1p-53 *
                      std::accumulate(weight_.begin(), weight_.begin() + static_cast<std::ptrdiff_t>(kept), 0.0);
        for (std::size_t i = 0; i < kept; ++i) {
            draw -= weight_[i];
            if (draw < 0) return order_[i];
        }
        return order_[kept - 1];
    }
};

} // namespace

void generate(const generate_options& o) {
    executor threads(o.threads);
    const auto file = open_model(o.model, threads, o.int8 ? arithmetic::int8 : arithmetic::floats);
    const auto& tokens = file.text();
    if (o.prompt.empty()) throw error("--prompt: expected a text, found an empty one");
    std::vector<token_id> prompt;
    if (o.chat) {
        prompt = io::chat_prompt(tokens, {{"user", o.prompt}});
    } else {
        prompt.push_back(tokens.bos());
        const auto ids = tokens.encode(o.prompt);
        // A prompt that begins with BOS already has it.
        prompt.insert(prompt.end(), ids.begin() + (!ids.empty() && ids.front() == tokens.bos() ? 1 : 0), ids.end());
    }
    note_context(file.sizes, static_cast<index_t>(prompt.size()) + o.count);
    const auto model = family_of(file.sizes, file.path).open(file, {.threads = o.threads, .kv_format = &format_of(o.kv)});
    aligned_vector<float> row(static_cast<std::size_t>(file.sizes.vocabulary));
    const auto last_logits = [&](std::span<const token_id> ids) {
        index_t done = 0;
        model->read(ids, 512, [&](index_t first, matrix_view<const float> hidden) {
            done = first + hidden.rows;
            if (done == static_cast<index_t>(ids.size()))
                model->logits(hidden.slice(hidden.rows - 1, 1), {row.data(), 1, file.sizes.vocabulary});
        });
        for (const token_id id : tokens.suppressed()) {
            if (id >= 0 && id < file.sizes.vocabulary) row[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
        }
    };
    using clock = std::chrono::steady_clock;
    const auto seconds = [](clock::time_point a, clock::time_point b) { return std::chrono::duration<double>(b - a).count(); };
    const auto start = clock::now();
    last_logits(prompt);
    const auto read = clock::now();
    sampler pick(o);
    io::stream_decoder text(tokens);
    std::vector<token_id> ids;
    std::string all;
    const auto say = [&](const std::string& piece) {
        all += piece;
        if (!o.json) {
            std::fwrite(piece.data(), 1, piece.size(), stdout);
            std::fflush(stdout);
        }
    };
    for (index_t i = 0; i < o.count; ++i) {
        const token_id next = pick(row);
        if (o.stop && tokens.ends_generation(next)) break;
        ids.push_back(next);
        // A tokenizer may be smaller than the embedding has rows: such ids have no text.
        if (next < tokens.size()) say(text.push(next));
        if (i + 1 < o.count) last_logits(std::span(&next, 1));
    }
    say(text.finish());
    const auto end = clock::now();
    if (o.json) {
        const nlohmann::ordered_json j{{"prompt_ids", prompt}, {"ids", ids}, {"text", all}};
        fmt::print("{}\n", j.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    } else {
        fmt::print("\n");
    }
    fmt::print(stderr, "prompt: {} tokens, {:.1f} tokens/s; generation: {} tokens, {:.1f} tokens/s\n", prompt.size(),
               static_cast<double>(prompt.size()) / seconds(start, read), ids.size(), static_cast<double>(ids.size()) / seconds(read, end));
}

} // namespace program
