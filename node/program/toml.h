// toml++ as this project uses it. Every source that reads TOML includes it through here, so that
// all are compiled alike. No header that others include may include this one: it is large.
#pragma once

#define TOML_EXCEPTIONS 0
// The library asserts that a key begins well before it checks and refuses that itself, so "[#a]"
// would end the process.
#define TOML_ASSERT(expression) static_cast<void>(0)
// Its tables of characters beyond ASCII end in "unreachable" for some that can be reached: those
// are simply not in the table.
#include <toml++/impl/forward_declarations.h>
#undef TOML_UNREACHABLE
#define TOML_UNREACHABLE return false
#include <toml++/impl/unicode.h>
#undef TOML_UNREACHABLE
#define TOML_UNREACHABLE __builtin_unreachable()
#include <toml++/toml.h>
