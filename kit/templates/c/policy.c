// Refuses every action on a frozen project, and leaves all others to the other policies.

#include <stdio.h>
#include <stdlib.h>

#include "json.h"
// Made by `codec-plugin build` of the interfaces in wit/: see target/codec-plugin/bindings.
#include "policy_plugin.h"

typedef exports_origan_codec_settings_list_problem_t problems_t;

// Set by `configure`: ids of projects on which nothing may be done. The host then keeps a picture of the memory, and every decision
// begins from that.
static struct text *frozen_projects;
static size_t frozen_projects_len;

static void add_problem(problems_t *problems, struct text path, const char *message) {
  problems->ptr = realloc(problems->ptr, (problems->len + 1) * sizeof *problems->ptr);
  exports_origan_codec_settings_problem_t *problem = &problems->ptr[problems->len++];
  policy_plugin_string_dup_n(&problem->path, path.at, path.len);
  policy_plugin_string_dup(&problem->message, message);
}

static void read_projects(struct json value, problems_t *problems) {
  struct json_cursor items;
  bool is_list = json_enter_array(value, &items);
  struct json item;
  while (is_list && json_next_item(&items, &item)) {
    frozen_projects = realloc(frozen_projects, (frozen_projects_len + 1) * sizeof *frozen_projects);
    is_list = json_string(item, &frozen_projects[frozen_projects_len++]);
  }
  if (!is_list) {
    add_problem(problems, TEXT("/frozen_projects"), "wants a list of project ids");
  }
}

// Reads the operator's settings, one JSON object. Names every key that is wrong, and every key that is not known: a misspelt setting must
// not be a silent default. True if all is well.
bool exports_origan_codec_settings_configure(policy_plugin_string_t *json, problems_t *problems) {
  *problems = (problems_t){NULL, 0};
  struct json_cursor members;
  if (!json_enter_object((struct json){(const char *)json->ptr, json->len}, &members)) {
    add_problem(problems, TEXT(""), "must be an object");
  }
  struct text key;
  struct json value;
  while (problems->len == 0 && json_next_member(&members, &key, &value)) {
    if (text_is(key, "frozen_projects")) {
      read_projects(value, problems);
    } else {
      add_problem(problems, json_pointer(key), "is not a setting of this policy; frozen_projects is the only one");
    }
  }
  return problems->len == 0;
}

// What the host should look up for each query: nothing. `…_LOOKUPS_DEPLOYMENT | …_LOOKUPS_VARIABLES` would be all there is.
exports_origan_codec_policy_lookups_t exports_origan_codec_policy_needs(void) {
  return 0;
}

// Decides. Everything that it may depend on is in the query, the time included.
void exports_origan_codec_policy_evaluate(exports_origan_codec_policy_query_t *query, exports_origan_codec_policy_decision_t *decision) {
  decision->tag = EXPORTS_ORIGAN_CODEC_POLICY_DECISION_ABSTAIN;
  struct text project = {(const char *)query->project_id.val.ptr, query->project_id.val.len};
  for (size_t i = 0; query->project_id.is_some && i < frozen_projects_len; i++) {
    if (!texts_are_same(project, frozen_projects[i])) {
      continue;
    }
    char reason[512];
    snprintf(reason, sizeof reason, "%.*s on %.*s, which frozen_projects lists", (int)query->action.len,
             (const char *)query->action.ptr, (int)project.len, project.at);
    decision->tag = EXPORTS_ORIGAN_CODEC_POLICY_DECISION_DENY;
    policy_plugin_string_dup(&decision->val.deny.code, "project-frozen");
    policy_plugin_string_dup(&decision->val.deny.reason, reason);
    break;
  }
  exports_origan_codec_policy_query_free(query);
}
