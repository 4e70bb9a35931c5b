// Whose keys and values the last blocks read. Trap: a sliding block reads the last own sliding block, a full one the last own full block.
#include <loupe/core/compat/catch2.hpp>
#include <loupe/model/gemma4.hpp>
#include <loupe/policy/kv.hpp>

#include <array>

using namespace loupe;

namespace {

/// Donors of all blocks of a card.
template <class Sharing, class Card>
std::vector<index_t> donors() {
    constexpr card c = Card::value;
    std::array<bool, static_cast<std::size_t>(c.blocks)> full{};
    for (index_t i = 0; i < c.blocks; ++i) full[static_cast<std::size_t>(i)] = c.is_full(i);
    std::vector<index_t> out;
    for (index_t i = 0; i < c.blocks; ++i) out.push_back(Sharing::donor(i, full, c.blocks - c.kv_shared_blocks));
    return out;
}

} // namespace

TEST_CASE("kv sharing: E2B reads 13 and 14, E4B 22 and 23", "[policy]") {
    const auto e2b = donors<kv_sharing::last_of_kind, gemma4::e2b_card>(), e4b = donors<kv_sharing::last_of_kind, gemma4::e4b_card>();
    for (index_t i = 0; i < 35; ++i) CHECK(e2b[static_cast<std::size_t>(i)] == (i < 15 ? i : i % 5 == 4 ? 14 : 13));
    for (index_t i = 0; i < 42; ++i) CHECK(e4b[static_cast<std::size_t>(i)] == (i < 24 ? i : i % 6 == 5 ? 23 : 22));
}

TEST_CASE("kv sharing: models without shared blocks, and sharing switched off", "[policy]") {
    const auto whole = donors<kv_sharing::last_of_kind, gemma4::b12_card>(), none = donors<kv_sharing::none, gemma4::e2b_card>();
    for (std::size_t i = 0; i < whole.size(); ++i) CHECK(whole[i] == static_cast<index_t>(i));
    for (std::size_t i = 0; i < none.size(); ++i) CHECK(none[i] == static_cast<index_t>(i));
}

TEST_CASE("kv sharing: no block of the kind, no donor", "[policy]") {
    const std::array<bool, 4> full{false, false, true, false};
    CHECK(kv_sharing::last_of_kind::donor(2, full, 2) == kv_sharing::no_donor);
    CHECK(kv_sharing::last_of_kind::donor(3, full, 2) == 1);
    CHECK(kv_sharing::last_of_kind::donor(1, full, 0) == kv_sharing::no_donor);
}
