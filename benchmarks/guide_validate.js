// The "Data Integrity Check" of the data migration guide, word for word but for the directory, which
// is an argument here. The benchmarks run it as the guide's side of `validate`.
const fs = require('fs');
const path = require('path');

const validateData = async () => {
  const dataDir = process.argv[2];
  const errors = [];

  // Validate user data
  const usersDir = path.join(dataDir, 'users');
  const userFiles = fs.readdirSync(usersDir);

  for (const file of userFiles) {
    try {
      const userData = JSON.parse(fs.readFileSync(path.join(usersDir, file)));
      if (!userData.id || !userData.created_at) {
        errors.push(`Invalid user data in ${file}`);
      }
    } catch (e) {
      errors.push(`Error reading user file ${file}: ${e.message}`);
    }
  }

  // Validate histories
  const historiesDir = path.join(dataDir, 'histories');
  const historyDirs = fs.readdirSync(historiesDir);

  for (const dir of historyDirs) {
    const userHistoryDir = path.join(historiesDir, dir);
    const historyFiles = fs.readdirSync(userHistoryDir);

    for (const file of historyFiles) {
      try {
        const historyData = JSON.parse(fs.readFileSync(path.join(userHistoryDir, file)));
        if (!historyData.messages || !Array.isArray(historyData.messages)) {
          errors.push(`Invalid history data in ${dir}/${file}`);
        }
      } catch (e) {
        errors.push(`Error reading history file ${dir}/${file}: ${e.message}`);
      }
    }
  }

  if (errors.length > 0) {
    console.error('Data validation errors:');
    errors.forEach(error => console.error(`- ${error}`));
    process.exit(1);
  } else {
    console.log('Data validation successful');
  }
};

validateData().catch(console.error);
