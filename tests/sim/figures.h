// Figures: numbers that only virtual time can give, each printed as one JSON object.
//
//   propagation-loss  one change until the last of 32 schedulers has it, 5 % loss, 2 ms links
//   heal              a partition of 60 s with 10,000 changes on each side: time and bytes until
//                     8 nodes agree again, beside the size of what differed
//   memory            bytes allocated while every node's load changes 1,000 times a second
//   false-deaths      16 nodes at 5 % loss: who was suspected or declared dead, though all live
//
// Threads: one figure at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dualmesh::sim {

struct FigureOptions {
  std::string name;
  std::uint64_t seed = 1;
  std::size_t nodes = 0;  // 0: as the figure is defined
  double hours = 1.0;     // of memory and false-deaths
};

int propagation_figure(const FigureOptions& options);
int heal_figure(const FigureOptions& options);
int memory_figure(const FigureOptions& options);
int deaths_figure(const FigureOptions& options);  // 1 when anybody was declared dead

// The value with `share` of `values` below it, 0 where there are none; sorts them.
double percentile(std::vector<double>& values, double share);

// Runs the figure of that name; 2 when there is none.
int run_figure(const FigureOptions& options);

}  // namespace dualmesh::sim
