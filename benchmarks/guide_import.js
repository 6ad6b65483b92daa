// What "Import Data" of the data migration guide does, with the file and the directory as arguments.
// The benchmarks run it as the guide's side of `import`, the tests to read what we wrote.
const fs = require('fs');
const path = require('path');

const [exportFile, dataDir] = process.argv.slice(2);
const imported = JSON.parse(fs.readFileSync(exportFile));
const write = (value, ...parts) =>
  fs.writeFileSync(path.join(dataDir, ...parts), JSON.stringify(value, null, 2));

fs.mkdirSync(path.join(dataDir, 'users'), { recursive: true });
for (const [user, value] of Object.entries(imported.users)) {
  write(value, 'users', `${user}.json`);
}
fs.mkdirSync(path.join(dataDir, 'histories'), { recursive: true });
for (const [user, histories] of Object.entries(imported.histories)) {
  fs.mkdirSync(path.join(dataDir, 'histories', user), { recursive: true });
  histories.forEach((history, index) => write(history, 'histories', user, `${index}.json`));
}
