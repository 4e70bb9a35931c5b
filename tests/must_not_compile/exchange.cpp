// Exchanges that say nothing, the wrong thing, or the same thing twice.
#include <loupe/model/nano.hpp>

using namespace loupe;

template <class M>
using same = M;
using base = nano::e;
using experts = nano::a;
using nope = with<base, slot::rope_full<rope::none>>;
using narrow = with<nope, slot::kv<kv::window<8>>>;

struct my_part {
    static constexpr std::string_view name = "my_part";
};
template <class T>
struct my_slot : binding<my_part, T> {};
using foreign_slot = my_slot<int>;
using rope_without_slot = rope::none;
using rope_with_slot = slot::rope_full<rope::none>;
using unchecked = binding<part::rope_full, int>;
using not_a_name = kv::full;
using name = part::kv;

using nothing = same<base>;                                         // same -> with, says: nothing_is_exchanged
using the_same_rope = with<base, slot::rope_full<rope::partial<>>>; // partial -> proportional, says: part_is_already_there<.*rope_full
using the_same_cap =
    with<base, slot::kv<kv::window<8>>, slot::final_softcap<softcap::none>>; // none -> stored, says: part_is_already_there<.*softcap
using back_again = with<nope, slot::rope_full<rope::standard>>;              // standard -> none, says: part_is_already_there<.*rope::none
using sigmoid = with<experts, slot::router<router::sigmoid>>;            // experts -> base, says: part_is_for_models_with_experts<.*sigmoid
using two = with<experts, slot::experts_used<experts_used::exactly<2>>>; // experts -> base, says: models_with_experts<.*exactly<2>
using routed_alone = with<experts, slot::dense_branch<dense_branch::off>>; // experts -> base, says: with_experts<.*dense_branch::off
using every_pair = with<base, slot::rope_full<rope::partial<>>>; // rope_full -> rope_sliding, says: rotates_every_pair_as_before<.*partial
using twice = with<base, slot::q_norm<norm::none>, slot::k_norm<norm::none>>; // q_norm -> k_norm, says: slot_is_filled_twice<.*k_norm
using mistyped = with<base, slot::rope_full<rope::none>>;                     // rope_full -> rope_ful, says: rope_ful
using mistyped_part = with<base, slot::rope_full<rope::none>>;                // none -> nope, says: nope
using no_slot = with<base, rope_with_slot>;   // rope_with_slot -> rope_without_slot, says: this_is_no_part_in_a_slot<.*rope::none
using name_only = with<base, rope_with_slot>; // rope_with_slot -> name, says: this_is_no_part_in_a_slot<.*part::kv
using foreign = with<base, rope_with_slot>;   // rope_with_slot -> foreign_slot, says: this_is_no_name_of_a_slot<.*my_part
using untyped = with<base, rope_with_slot>;   // rope_with_slot -> unchecked, says: this_is_no_part_in_a_slot<.*binding<.*rope_full
using no_model = with<base, slot::rope_full<rope::none>>;    // base -> name, says: model
using card_for_model = with<base, rope_with_slot>;           // base -> card, says: 'loupe::card'.*model|model.*loupe::card
using part_of_base = part_of<base, name>;                    // name -> not_a_name, says: slot_name
static_assert(differs_only_in<base, nope, part::rope_full>); // rope_full -> rope_sliding, says: they_do_not_differ_in<.*rope_sliding
static_assert(differs_only_in<base, narrow, part::rope_full, part::kv>); // kv -> q_norm, says: they_do_not_differ_in<.*q_norm
static_assert(differs_only_in<base, nope, part::rope_full>);             // nope -> narrow, says: they_also_differ_in<.*part::kv
static_assert(differs_only_in<base, narrow, part::rope_full, name>);     // name -> not_a_name, says: this_is_no_name_of_a_slot<.*kv::full
static_assert(differs_only_in<base, nope, part::rope_full>);             // base -> name, says: model
inline const auto difference = diff<base, nope>();                       // nope -> card, says: model
