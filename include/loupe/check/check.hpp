// check<Part>(): holds a policy or a layer of one's own against what the framework relies on, and says what broke with the smallest input
// that shows it. One header for each family of policies, and one for layers.
//
//   const verdict v = check<my_mask>();
//   if (!v) std::cerr << v << '\n';
//
// image_mask, dense_branch and value_source are one bool each: there is nothing to hold them against. Sizes read from files are checked in
// model/check.hpp.
#pragma once

#include <loupe/check/activation.hpp>
#include <loupe/check/branch.hpp>
#include <loupe/check/executor.hpp>
#include <loupe/check/kv.hpp>
#include <loupe/check/layer.hpp>
#include <loupe/check/mask.hpp>
#include <loupe/check/norm.hpp>
#include <loupe/check/probe.hpp>
#include <loupe/check/prune.hpp>
#include <loupe/check/rope.hpp>
#include <loupe/check/router.hpp>
#include <loupe/check/scale.hpp>
#include <loupe/check/softcap.hpp>
#include <loupe/check/weights.hpp>
