// The recency policy of plugins/policy-recency, in C: the same settings, decisions and cases.
//
// `time - created <= max_age` and `created - time <= skew`, both exact to the millisecond.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_plugin.h"
#include "settings.h"

typedef exports_origan_codec_policy_query_t query_t;
typedef exports_origan_codec_policy_decision_t decision_t;

// Longest reason that is written; the host keeps 1,024 bytes.
#define REASON_SIZE 1024

// Set by `configure`, and part of every instance from then on: the host keeps a picture of the memory.
static struct settings settings;
static bool is_configured;

bool exports_origan_codec_settings_configure(policy_plugin_string_t *json, exports_origan_codec_settings_list_problem_t *problems) {
  is_configured = settings_read((struct text){(const char *)json->ptr, json->len}, &settings, problems);
  policy_plugin_string_free(json);
  return is_configured;
}

exports_origan_codec_policy_lookups_t exports_origan_codec_policy_needs(void) {
  return EXPORTS_ORIGAN_CODEC_POLICY_LOOKUPS_DEPLOYMENT;
}

// Exact, in as few units as that takes: `1d 1ms`.
static void write_duration(char *out, size_t size, uint64_t ms) {
  static const struct {
    const char *unit;
    uint64_t factor;
  } UNITS[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
  size_t len = (size_t)snprintf(out, size, ms == 0 ? "0s" : "");
  for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++) {
    uint64_t count = ms / UNITS[i].factor;
    ms %= UNITS[i].factor;
    if (count > 0 && len < size) {
      len += (size_t)snprintf(out + len, size - len, "%s%llu%s", len > 0 ? " " : "", (unsigned long long)count, UNITS[i].unit);
    }
  }
}

static void deny(decision_t *decision, const char *code, const char *reason) {
  decision->tag = EXPORTS_ORIGAN_CODEC_POLICY_DECISION_DENY;
  policy_plugin_string_dup(&decision->val.deny.code, code);
  policy_plugin_string_dup(&decision->val.deny.reason, reason);
}

static void answer(decision_t *decision, enum answer answer) {
  decision->tag = answer == ABSTAIN ? EXPORTS_ORIGAN_CODEC_POLICY_DECISION_ABSTAIN : EXPORTS_ORIGAN_CODEC_POLICY_DECISION_ALLOW;
}

static void warn(const char *what) {
  policy_plugin_string_t message;
  origan_codec_log_list_attribute_t none = {NULL, 0};
  policy_plugin_string_set(&message, what);
  origan_codec_log_emit(ORIGAN_CODEC_LOG_LEVEL_WARN, &message, &none);
}

static void decide_unknown(const policy_plugin_string_t *id, decision_t *decision) {
  char text[REASON_SIZE];
  const char *allowed = settings.unknown == WARN ? "allowed, although " : "";
  snprintf(text, sizeof text, "%sthe platform does not know deployment \"%.*s\"", allowed, (int)id->len, (const char *)id->ptr);
  if (settings.unknown == DENY) {
    deny(decision, "deployment-unknown", text);
    return;
  }
  if (settings.unknown == WARN) {
    warn(text);
  }
  answer(decision, settings.unknown);
}

static void decide_known(const origan_codec_facts_known_deployment_t *known, uint64_t time, decision_t *decision) {
  // One of the two is 0, and neither can overflow.
  uint64_t age = time > known->created ? time - known->created : 0;
  uint64_t ahead = known->created > time ? known->created - time : 0;
  char found[96], limit[96], text[REASON_SIZE];
  int id_len = (int)known->id.len;
  const char *id = (const char *)known->id.ptr;
  if (age > settings.max_age_ms) {
    write_duration(found, sizeof found, age);
    write_duration(limit, sizeof limit, settings.max_age_ms);
    snprintf(text, sizeof text, "deployment \"%.*s\" is %s old; max_age is %s", id_len, id, found, limit);
    deny(decision, "deployment-too-old", text);
  } else if (ahead > settings.skew_ms) {
    write_duration(found, sizeof found, ahead);
    write_duration(limit, sizeof limit, settings.skew_ms);
    snprintf(text, sizeof text, "deployment \"%.*s\" was created %s in the future; skew is %s", id_len, id, found, limit);
    deny(decision, "deployment-in-future", text);
  } else {
    answer(decision, settings.fresh);
  }
}

static bool applies(const policy_plugin_string_t *action) {
  struct text name = {(const char *)action->ptr, action->len};
  for (size_t i = 0; i < settings.actions_len; i++) {
    if (pattern_matches(settings.actions[i], name)) {
      return true;
    }
  }
  return false;
}

void exports_origan_codec_policy_evaluate(query_t *query, decision_t *decision) {
  if (!is_configured) {
    deny(decision, "not-configured", "the policy was asked before it was configured");
  } else if (!applies(&query->action)) {
    answer(decision, ABSTAIN);
  } else if (query->deployment.tag == ORIGAN_CODEC_FACTS_DEPLOYMENT_NONE) {
    char text[REASON_SIZE];
    const policy_plugin_string_t *action = &query->action;
    snprintf(text, sizeof text, "%.*s needs a deployment, and the call names none", (int)action->len, (const char *)action->ptr);
    deny(decision, "deployment-required", text);
  } else if (query->deployment.tag == ORIGAN_CODEC_FACTS_DEPLOYMENT_UNKNOWN) {
    decide_unknown(&query->deployment.val.unknown, decision);
  } else {
    decide_known(&query->deployment.val.known, query->time, decision);
  }
  // Nobody needs it where each decision is made by a fresh instance; `codec-plugin bench` keeps one warm.
  exports_origan_codec_policy_query_free(query);
}
