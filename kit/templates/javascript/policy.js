// Refuses every action on a frozen project, and leaves all others to the other policies.

// Set by `configure`. The host then keeps a picture of the memory, and every decision begins from that.
let frozenProjects = [];

export const settings = {
  // Reads the operator's settings, one JSON object. Names every key that is wrong, and every key that is not known: a misspelt setting
  // must not be a silent default. What is thrown is the answer; any other error is a trap, whose message is lost.
  configure(json) {
    const { frozen_projects: projects = [], ...unknown } = JSON.parse(json);
    const problems = Object.keys(unknown).map((key) =>
      problem(key, 'is not a setting of this policy; frozen_projects is the only one'),
    );
    if (!Array.isArray(projects) || !projects.every((project) => typeof project === 'string')) {
      problems.push(problem('frozen_projects', 'wants a list of project ids'));
    }
    if (problems.length > 0) throw problems;
    frozenProjects = projects;
  },
};

export const policy = {
  // What the host should look up for each query: nothing. `{ deployment: true, variables: true }` would be all there is.
  needs() {
    return {};
  },

  // Decides. Everything that it may depend on is in the query, the time (a BigInt) included.
  evaluate({ action, projectId }) {
    // `projectId` is undefined where the operation has no project.
    if (!frozenProjects.includes(projectId)) return { tag: 'abstain' };
    const reason = `${action} on ${projectId}, which frozen_projects lists`;
    return { tag: 'deny', val: { code: 'project-frozen', reason } };
  },
};

function problem(key, message) {
  return { path: `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`, message };
}
