// Run by node with: the module componentize-js, the plugin's module, the folder of interfaces, the world, the file to write.
import { writeFile } from 'node:fs/promises';

const [tool, sourcePath, witPath, worldName, out] = process.argv.slice(1);
const { componentize } = await import(tool);
// Nothing of WASI: what a plugin reaches is in its world.
const disableFeatures = ['stdio', 'random', 'clocks', 'http', 'fetch-event'];
try {
  const { component } = await componentize({ sourcePath, witPath, worldName, disableFeatures });
  await writeFile(out, component);
} catch (error) {
  // Its message says what is wrong with the plugin; the rest is where in componentize-js that was found.
  console.error(error.message);
  process.exitCode = 1;
}
