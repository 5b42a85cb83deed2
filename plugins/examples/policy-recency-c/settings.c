#include "settings.h"

#include <stdlib.h>
#include <string.h>

// The actions of this version of the interface: a pattern that stands for none of them is misspelt.
static const char *const ACTIONS[] = {"encrypt",     "encrypt-all",  "decrypt-value", "decrypt-all",
                                      "decrypt-dek", "generate-dek", "re-encrypt",    "rotate-dek",
                                      "rewrap-dek",  "rewrap-all",   "disable-dek",   "enable-dek",
                                      "destroy-dek"};

static const struct text DEFAULT_ACTION = TEXT("decrypt-all");

typedef exports_origan_codec_settings_list_problem_t problems_t;

static void add_problem(problems_t *problems, struct text path, const char *message) {
  size_t size = (problems->len + 1) * sizeof *problems->ptr;
  problems->ptr = realloc(problems->ptr, size);
  exports_origan_codec_settings_problem_t *problem = &problems->ptr[problems->len++];
  policy_plugin_string_dup_n(&problem->path, path.at, path.len);
  policy_plugin_string_dup(&problem->message, message);
}

bool pattern_matches(struct text pattern, struct text name) {
  size_t p = 0, n = 0, star = SIZE_MAX, resume = 0;
  while (n < name.len) {
    if (p < pattern.len && pattern.at[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.len && pattern.at[p] == name.at[n]) {
      p++;
      n++;
    } else if (star != SIZE_MAX) {
      // The last star takes one character more.
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.len && pattern.at[p] == '*') {
    p++;
  }
  return p == pattern.len;
}

// `duration = number unit`, in milliseconds that fit 64 bits.
static bool parse_duration(struct text text, uint64_t *ms) {
  static const struct {
    const char *unit;
    uint64_t factor;
  } UNITS[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
  uint64_t number = 0;
  size_t digits = 0;
  for (; digits < text.len && text.at[digits] >= '0' && text.at[digits] <= '9'; digits++) {
    if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, text.at[digits] - '0', &number)) {
      return false;
    }
  }
  struct text unit = {text.at + digits, text.len - digits};
  for (size_t i = 0; digits > 0 && i < sizeof UNITS / sizeof *UNITS; i++) {
    if (text_is(unit, UNITS[i].unit)) {
      return !__builtin_mul_overflow(number, UNITS[i].factor, ms);
    }
  }
  return false;
}

static bool read_duration(struct json value, uint64_t *ms) {
  struct text text;
  return json_string(value, &text) && parse_duration(text, ms);
}

// One of `words`, which end with NULL, whose places are those of `answers`.
static bool read_answer(struct json value, const char *const *words, const enum answer *answers, enum answer *answer) {
  struct text text;
  if (!json_string(value, &text)) {
    return false;
  }
  for (size_t i = 0; words[i] != NULL; i++) {
    if (text_is(text, words[i])) {
      *answer = answers[i];
      return true;
    }
  }
  return false;
}

static bool names_an_action(struct text pattern) {
  for (size_t i = 0; i < sizeof ACTIONS / sizeof *ACTIONS; i++) {
    if (pattern_matches(pattern, (struct text){ACTIONS[i], strlen(ACTIONS[i])})) {
      return true;
    }
  }
  return false;
}

static struct text place_in_actions(size_t index) {
  char digits[20], *path = malloc(32), *out = path + 9;
  size_t count = 0;
  memcpy(path, "/actions/", 9);
  do {
    digits[count++] = (char)('0' + index % 10);
  } while ((index /= 10) > 0);
  while (count > 0) {
    *out++ = digits[--count];
  }
  return (struct text){path, (size_t)(out - path)};
}

static void read_actions(struct json value, struct settings *settings, problems_t *problems) {
  struct json_cursor items;
  if (!json_enter_array(value, &items)) {
    add_problem(problems, TEXT("/actions"), "must be an array");
    return;
  }
  settings->actions = NULL;
  settings->actions_len = 0;
  struct json item;
  for (size_t index = 0; json_next_item(&items, &item); index++) {
    struct text pattern;
    if (!json_string(item, &pattern) || !names_an_action(pattern)) {
      add_problem(problems, place_in_actions(index), "matches none of the actions");
      continue;
    }
    settings->actions = realloc(settings->actions, (settings->actions_len + 1) * sizeof *settings->actions);
    settings->actions[settings->actions_len++] = pattern;
  }
  if (problems->len == 0 && settings->actions_len == 0) {
    add_problem(problems, TEXT("/actions"), "is empty: the policy would never apply");
  }
}

static void read_member(struct text key, struct json value, struct settings *settings, problems_t *problems) {
  static const char *const UNKNOWN[] = {"deny", "allow", "abstain", "warn", NULL};
  static const enum answer UNKNOWN_ANSWERS[] = {DENY, ALLOW, ABSTAIN, WARN};
  static const char *const FRESH[] = {"allow", "abstain", NULL};
  static const enum answer FRESH_ANSWERS[] = {ALLOW, ABSTAIN};
  if (text_is(key, "max_age")) {
    if (!read_duration(value, &settings->max_age_ms)) {
      add_problem(problems, TEXT("/max_age"), "is not a duration: a whole number and ms, s, m, h or d, such as \"24h\"");
    } else if (settings->max_age_ms == 0) {
      add_problem(problems, TEXT("/max_age"), "must be longer than 0: no deployment is that recent");
    }
  } else if (text_is(key, "skew")) {
    if (!read_duration(value, &settings->skew_ms)) {
      add_problem(problems, TEXT("/skew"), "is not a duration: a whole number and ms, s, m, h or d, such as \"60s\"");
    }
  } else if (text_is(key, "actions")) {
    read_actions(value, settings, problems);
  } else if (text_is(key, "unknown")) {
    if (!read_answer(value, UNKNOWN, UNKNOWN_ANSWERS, &settings->unknown)) {
      add_problem(problems, TEXT("/unknown"), "is none of \"deny\", \"allow\", \"abstain\", \"warn\"");
    }
  } else if (text_is(key, "fresh")) {
    if (!read_answer(value, FRESH, FRESH_ANSWERS, &settings->fresh)) {
      add_problem(problems, TEXT("/fresh"), "is none of \"allow\", \"abstain\"");
    }
  } else {
    add_problem(problems, json_pointer(key), "no such setting");
  }
}

bool settings_read(struct text json, struct settings *settings, problems_t *problems) {
  *problems = (problems_t){NULL, 0};
  struct text *actions = malloc(sizeof *actions);
  *actions = DEFAULT_ACTION;
  *settings = (struct settings){0, 60000, actions, 1, DENY, ALLOW};
  struct json_cursor members;
  if (!json_enter_object((struct json){json.at, json.len}, &members)) {
    add_problem(problems, TEXT(""), "must be an object");
    return false;
  }
  bool has_max_age = false;
  struct text key;
  struct json value;
  while (json_next_member(&members, &key, &value)) {
    has_max_age |= text_is(key, "max_age");
    read_member(key, value, settings, problems);
  }
  if (!has_max_age) {
    add_problem(problems, TEXT("/max_age"), "is required");
  }
  return problems->len == 0;
}
