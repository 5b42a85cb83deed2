// What JavaScript does otherwise here than elsewhere: the project of a query says which it is, the reason of the denial what came.

const traps = {
  random: () => Math.random(),
  uuid: () => crypto.randomUUID(),
  clock: () => Date.now(),
  time: ({ time }) => `${typeof time} ${time}`,
  absent: ({ variables: [variable] }) => `${variable.keyVersion}`,
  print: () => console.log('printed'),
  exception: () => {
    throw new Error('the message');
  },
  import: () => import('./late.js'),
  open: () => fetch('http://collector.test/'),
};

export const settings = {
  configure() {},
};

export const policy = {
  needs: () => ({ variables: true }),
  evaluate(query) {
    if (query.projectId === 'shape') return 'deny';
    return { tag: 'deny', val: { code: 'seen', reason: `<${traps[query.projectId](query)}>` } };
  },
};
