// For the tests of small scopes: every order in which four messages may come when one of them, or
// none, is lost and another comes twice.
#pragma once

#include <algorithm>
#include <vector>

namespace dualmesh::crdt {

template <class Visit>  // visit(order), the messages' numbers from 0
void for_each_delivery_order(Visit&& visit) {
  for (int lost = 0; lost <= 4; ++lost) {  // 4: none
    for (int doubled = 0; doubled < 4; ++doubled) {
      if (doubled == lost) continue;
      std::vector<int> order;
      for (int i = 0; i < 4; ++i) {
        if (i != lost) order.insert(order.end(), i == doubled ? 2 : 1, i);
      }
      do {
        visit(order);
      } while (std::next_permutation(order.begin(), order.end()));
    }
  }
}

}  // namespace dualmesh::crdt
