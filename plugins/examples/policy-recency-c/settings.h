// What the operator wrote, read strictly: what is unknown, of a wrong type or contradictory is a problem that names its place.
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdint.h>

#include "json.h"
#include "policy_plugin.h"

// What an unknown or a fresh deployment is answered.
enum answer { DENY, ALLOW, ABSTAIN, WARN };

struct settings {
  // Milliseconds; 0 where it is missing, which is a problem.
  uint64_t max_age_ms;
  uint64_t skew_ms;
  // Names of actions, in which `*` stands for any run of characters.
  struct text *actions;
  size_t actions_len;
  enum answer unknown;
  enum answer fresh;
};

// Fills `settings` from the JSON of the operator; true if nothing is wrong with it.
bool settings_read(struct text json, struct settings *settings, exports_origan_codec_settings_list_problem_t *problems);

// Whether `pattern` stands for all of `name`.
bool pattern_matches(struct text pattern, struct text name);

#endif
