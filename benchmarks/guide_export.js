// What "Export Data" of the data migration guide does, with the directory and the file as arguments.
// The benchmarks run it as the guide's side of `export`, the tests to read what we wrote.
const fs = require('fs');
const path = require('path');

const [dataDir, exportFile] = process.argv.slice(2);
const read = (...parts) => JSON.parse(fs.readFileSync(path.join(dataDir, ...parts)));
const list = (...parts) => fs.readdirSync(path.join(dataDir, ...parts));

const users = {};
for (const file of list('users')) {
  users[file.replace('.json', '')] = read('users', file);
}
const histories = {};
for (const user of list('histories')) {
  histories[user] = list('histories', user).map((file) => read('histories', user, file));
}
const exported = { users, histories, exportDate: new Date().toISOString(), version: '1.0.0' };
fs.writeFileSync(exportFile, JSON.stringify(exported, null, 2));
