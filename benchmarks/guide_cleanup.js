// "Clean Expired Data" of the data migration guide, word for word but for the directory and the days,
// which are arguments here. The benchmarks run it as the guide's side of `cleanup`.
const fs = require('fs');
const path = require('path');

const cleanupData = async () => {
  const dataDir = process.argv[2];
  const historiesDir = path.join(dataDir, 'histories');
  const retentionDays = Number(process.argv[3]);

  const now = Date.now();
  const dirs = fs.readdirSync(historiesDir);

  for (const dir of dirs) {
    const userHistoryDir = path.join(historiesDir, dir);
    const files = fs.readdirSync(userHistoryDir);

    for (const file of files) {
      const filePath = path.join(userHistoryDir, file);
      const stats = fs.statSync(filePath);
      const daysOld = (now - stats.mtime.getTime()) / (1000 * 60 * 60 * 24);

      if (daysOld > retentionDays) {
        fs.unlinkSync(filePath);
      }
    }
  }
};

cleanupData().catch(console.error);
