#pragma once
// What a kernel takes is one struct, and PHYSIOCLR_FIELDS(a, b, ...) in it names its members, once: the binding fills
// them by these names (bindings/bind.h), so that no address can land in another's place. A member that has fields
// itself is filled field by field, under their own names; two of one name do not compile there.
#include <array>
#include <cstddef>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#define PHYSIOCLR_FIELDS(...)                              \
  static constexpr const char* field_names = #__VA_ARGS__; \
  auto fields() { return std::tie(__VA_ARGS__); }

namespace physioclr {

template <class T, class = void>
struct has_fields : std::false_type {};
template <class T>
struct has_fields<T, std::void_t<decltype(T::field_names)>> : std::true_type {};

template <class T>
using fields_of = decltype(std::declval<T&>().fields());  // std::tuple<Member&...>

template <class T>
constexpr size_t leaf_count();
template <class... M>
constexpr size_t leaf_count(std::tuple<M&...>*) {
  return (size_t{0} + ... + leaf_count<M>());
}
template <class T>
constexpr size_t leaf_count() {
  if constexpr (has_fields<T>::value) return leaf_count(static_cast<fields_of<T>*>(nullptr));
  else return 1;
}

// Takes the first name off a list of them.
constexpr std::string_view next_name(std::string_view& list) {
  const size_t end = list.find(',') < list.size() ? list.find(',') : list.size();
  const std::string_view name = list.substr(0, end);
  list.remove_prefix(end);
  while (!list.empty() && (list.front() == ',' || list.front() == ' ')) list.remove_prefix(1);
  return name;
}

template <class T>
constexpr void put_names(std::string_view name, std::string_view*& out);
template <class... M>
constexpr void put_names(std::string_view list, std::string_view*& out, std::tuple<M&...>*) {
  (put_names<M>(next_name(list), out), ...);
}
template <class T>
constexpr void put_names(std::string_view name, std::string_view*& out) {
  if constexpr (has_fields<T>::value) put_names(T::field_names, out, static_cast<fields_of<T>*>(nullptr));
  else *out++ = name;
}

// The names of all fields of a call, in order, those of its members' fields among them.
template <class Call>
constexpr auto leaf_names() {
  std::array<std::string_view, leaf_count<Call>()> names{};
  std::string_view* out = names.data();
  put_names<Call>({}, out);
  return names;
}

template <size_t n>
constexpr bool all_differ(const std::array<std::string_view, n>& names) {
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < i; ++j)
      if (names[i] == names[j]) return false;
  return true;
}

}  // namespace physioclr
