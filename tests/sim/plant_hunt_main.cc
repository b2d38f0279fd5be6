// mesh_swarm_planted: does the swarm find what is wrong? Switches on one planted bug after the
// other (node/mesh/planted.h) and runs seeds until one fails.
//
// Prints for each how many seeds it took and what was noticed. Exit status 0 when all were found.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

#include "node/mesh/planted.h"
#include "tests/sim/seed_pool.h"

namespace dualmesh::sim {
namespace {

using node::Plant;

struct Named {
  Plant plant;
  const char* name;
};
constexpr Named kPlants[] = {
    {Plant::lose_last_row, "lose_last_row"},
    {Plant::cut_is_complete, "cut_is_complete"},
    {Plant::expiry_not_told, "expiry_not_told"},
    {Plant::placements_unbounded, "placements_unbounded"},
    {Plant::ahead_kept, "ahead_kept"},
    {Plant::stuck_after_lost_link, "stuck_after_lost_link"},
    {Plant::clock_goes_back, "clock_goes_back"},
    {Plant::coarse_epoch, "coarse_epoch"},
    {Plant::earlier_life_ignored, "earlier_life_ignored"},
    {Plant::skip_refutation, "skip_refutation"},
    {Plant::keep_columns_of_dead, "keep_columns_of_dead"},
    {Plant::keep_columns_of_old_life, "keep_columns_of_old_life"},
    {Plant::unheard_for_ever, "unheard_for_ever"},
    {Plant::relays_nothing, "relays_nothing"},
    {Plant::removed_goes_on, "removed_goes_on"},
    {Plant::own_load_counted, "own_load_counted"},
    {Plant::collects_unasked, "collects_unasked"},
    {Plant::rings_kept, "rings_kept"},
};

bool hunt(const Named& planted, SeedRange seeds, std::size_t jobs) {
  node::planted_now = planted.plant;  // the children inherit it
  std::uint64_t tried = 0;
  std::string finding;
  run_seeds(seeds, jobs, [&](const SeedVerdict& verdict) {
    ++tried;
    if (verdict.good) return true;
    if (finding.empty()) finding = fmt::format("seed {}: {}", verdict.seed, verdict.problem);
    return false;
  });
  const std::string noticed = finding.empty() ? "NOT FOUND" : finding.substr(0, 100);
  fmt::print("{:26} {:>5} seeds  {}\n", planted.name, tried, noticed);
  std::fflush(stdout);
  return !finding.empty();
}

}  // namespace
}  // namespace dualmesh::sim

int main(int argc, char** argv) {
  using namespace dualmesh::sim;
  std::string only;
  SeedRange seeds{1, 1'000};
  std::size_t jobs = 2;
  CLI::App app{"Planted bugs, and how many seeds the swarm needs to find each."};
  app.add_option("--plant", only, "one of them only, by name");
  app.add_option_function<std::string>(
      "--seeds", [&seeds](const std::string& text) { seeds = parse_range(text); }, "A..B");
  app.add_option("--jobs", jobs, "processes at a time")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  bool all_found = true;
  std::size_t hunted = 0;
  for (const Named& planted : kPlants) {
    if (!only.empty() && only != planted.name) continue;
    ++hunted;
    all_found = hunt(planted, seeds, jobs) && all_found;
  }
  return all_found && hunted > 0 ? 0 : 1;
}
