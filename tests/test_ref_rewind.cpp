// Rewinding a sequence: to any position whose keys are still held, and reading on gives the bits of a fresh run; to any other is refused.
#include "npy_compare.hpp"

#include <loupe/model/gemma4.hpp>

using namespace loupe;

namespace {

/// Hidden states of every token of `ids`, which follow what the sequence has read, in chunks of `chunk`.
template <class Stack>
std::vector<float> hidden(const Stack& model, typename Stack::sequence_type& s, std::span<const token_id> ids, index_t chunk, runtime& on) {
    std::vector<float> out;
    model.read(s, ids, on, chunk, [&](index_t, matrix_view<const float> h) { tests::append(out, h.data, h.rows * h.width); });
    return out;
}

/// Small, with shared keys and values and a window of 8.
io::checkpoint small() { return tests::open(tests::data("gemma4-e2b")); }
using base = gemma4::per_layer_of_file;

std::vector<token_id> some_ids() {
    auto ids = io::npy::read<token_id>(tests::data("gemma4-e2b") / "ids.npy").values;
    ids.insert(ids.end(), ids.rbegin(), ids.rend());
    return ids;
}

/// Reads `length` tokens in chunks of `chunk`, then rewinds again and again, always reading `again` other tokens. Every rewind is refused
/// or leads to the bits of a fresh run. Returns how many were accepted.
template <class Stack>
index_t rewind_everywhere(const Stack& model, index_t length, index_t chunk, index_t again) {
    const auto ids = some_ids();
    runtime on;
    index_t accepted = 0;
    for (index_t first = 0; first <= length; first += 3) {
        for (index_t second = 0; second <= first + again; second += 5) {
            auto s = model.start();
            hidden(model, s, std::span(ids).first(static_cast<std::size_t>(length)), chunk, on);
            std::vector<token_id> history(ids.begin(), ids.begin() + length);
            for (const index_t to : {first, second}) {
                try {
                    s.rewind(to);
                } catch (const error&) {
                    REQUIRE(to != 0);
                    continue;
                }
                ++accepted;
                CHECK(s.length == to);
                history.resize(static_cast<std::size_t>(to));
                std::vector<token_id> more;
                for (index_t i = 0; i < again; ++i) more.push_back(ids[static_cast<std::size_t>((to * 7 + i * 3 + 1) % 60)]);
                const auto found = hidden(model, s, more, 1, on);
                history.insert(history.end(), more.begin(), more.end());
                auto fresh = model.start();
                auto expected = hidden(model, fresh, history, 0, on);
                expected.erase(expected.begin(), expected.end() - static_cast<std::ptrdiff_t>(found.size()));
                INFO("read " << length << " in chunks of " << chunk << ", rewound to " << first << " and " << second << ", now to " << to);
                REQUIRE((found == expected));
            }
        }
    }
    return accepted;
}

} // namespace

TEST_CASE("rewinding, also more than once, gives the bits of a fresh run or is refused", "[rewind]") {
    const auto file = small();
    REQUIRE(file.sizes.window == 8);
    const decoder<base> model(file.sizes, file.weights);
    // Chunks of 20 leave room for 27 positions: the last 20 can be taken back. Chunks of 1 leave room for the window alone.
    CHECK(rewind_everywhere(model, 45, 20, 4) > 100);
    CHECK(rewind_everywhere(model, 45, 1, 4) > 0);
    CHECK(rewind_everywhere(model, 20, 20, 4) > 0);
}

TEST_CASE("rewinding a full cache with sinks", "[rewind]") {
    const auto file = small();
    using sinks = with<base, slot::mask_sliding<mask::causal>, slot::kv<kv::sink_window<3, 8>>>;
    const decoder<sinks> model(file.sizes, file.weights);
    CHECK(rewind_everywhere(model, 45, 20, 4) > 100);
}

TEST_CASE("a cache that forgets nothing can be rewound to every position", "[rewind]") {
    const auto file = small();
    using full = with<base, slot::mask_sliding<mask::causal>>;
    const decoder<full> model(file.sizes, file.weights);
    index_t tried = 0;
    for (index_t first = 0; first <= 24; first += 3) {
        for (index_t second = 0; second <= first + 4; second += 5) tried += 2;
    }
    CHECK(rewind_everywhere(model, 24, 7, 4) == tried);
}

TEST_CASE("a position that is no longer held is refused by name, and the sequence stays usable", "[rewind]") {
    const auto file = small();
    const decoder<base> model(file.sizes, file.weights);
    const auto ids = some_ids();
    runtime on;
    auto s = model.start();
    auto found = hidden(model, s, std::span(ids).first(60), 1, on);
    CHECK_THROWS_AS(s.rewind(-1), error);
    CHECK_THROWS_AS(s.rewind(61), error);
    CHECK_THROWS_AS(s.rewind(40), error);
    CHECK_THROWS_AS(s.rewind(58), error); // a query at 58 sees 51 to 58, but 59 has taken the place of 51
    CHECK_NOTHROW(s.rewind(60));
    CHECK(s.length == 60);
    const auto more = hidden(model, s, std::span(ids).subspan(60), 1, on);
    found.insert(found.end(), more.begin(), more.end());
    auto fresh = model.start();
    CHECK((found == hidden(model, fresh, ids, 0, on)));
    CHECK_NOTHROW(s.rewind(79)); // the last position gives way to itself
    CHECK_THROWS_AS(s.rewind(78), error);
    s.rewind(0);
    CHECK((found == hidden(model, s, ids, 16, on)));
}

TEST_CASE("a pruned sequence cannot be rewound but to its beginning", "[rewind][prune]") {
    const auto file = small();
    using pruned = with<base, slot::prune<prune::random<std::ratio<1, 2>, prune::after_first_full_block, 4>>>;
    const decoder<pruned> model(file.sizes, file.weights);
    const auto ids = some_ids();
    runtime on;
    auto s = model.start();
    const auto found = hidden(model, s, ids, 9, on);
    for (const index_t to : {1, 20, 79}) CHECK_THROWS_AS(s.rewind(to), error);
    CHECK_NOTHROW(s.rewind(80));
    s.rewind(0);
    CHECK((found == hidden(model, s, ids, 0, on)));
}
