// What C does otherwise here than elsewhere: the project of a query says which it is.

#include <string.h>

#include "policy_plugin.h"

bool exports_origan_codec_settings_configure(policy_plugin_string_t *json, exports_origan_codec_settings_list_problem_t *problems) {
  (void)json, (void)problems;
  return true;
}

exports_origan_codec_policy_lookups_t exports_origan_codec_policy_needs(void) {
  return EXPORTS_ORIGAN_CODEC_POLICY_LOOKUPS_VARIABLES;
}

// A KiB of stack for each of its turns.
static int deep(int turns, volatile char *above) {
  volatile char here[1024];
  here[0] = above[0];
  return turns == 0 ? 0 : deep(turns - 1, here) + here[0];
}

static bool is(const policy_plugin_string_t *text, const char *word) {
  return text->len == strlen(word) && memcmp(text->ptr, word, text->len) == 0;
}

void exports_origan_codec_policy_evaluate(exports_origan_codec_policy_query_t *query, exports_origan_codec_policy_decision_t *decision) {
  const policy_plugin_string_t *project = &query->project_id.val;
  const char *seen = "<>";
  volatile char first[1] = {0};
  if (is(project, "exception")) {
    seen = deep(1000, first) == 0 ? "<0>" : "<1>";
  } else if (is(project, "absent")) {
    seen = query->variables.ptr[0].key_version.is_some ? "<some>" : "<none>";
  }
  // No decision has this number.
  decision->tag = is(project, "shape") ? 17 : EXPORTS_ORIGAN_CODEC_POLICY_DECISION_DENY;
  policy_plugin_string_dup(&decision->val.deny.code, "seen");
  policy_plugin_string_dup(&decision->val.deny.reason, seen);
}
