#pragma once
// What a kernel takes is one struct, and PHYSIOCLR_FIELDS(a, b, ...) in it names its members, once: the binding fills
// them by these names (bindings/bind.h), so that no address can land in another's place. A member that has fields
// itself is filled field by field, under their own names.
#include <tuple>

#define PHYSIOCLR_FIELDS(...)                              \
  static constexpr const char* field_names = #__VA_ARGS__; \
  auto fields() { return std::tie(__VA_ARGS__); }
