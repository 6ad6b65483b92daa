"""The words that synthetic chats are made of. For `benchmarks.text` only.

A word's place in its list decides how often it is drawn, the first most often. The lists serve
nothing else, so that a compression dictionary that ships with the program is measured honestly.
"""

EN_NOUNS = """
time people way model question idea problem answer word list year name plan team place day company
week file story project customer meeting recipe garden price market student teacher lesson chapter
essay paragraph sentence paper language grammar journey hotel flight ticket city museum river
mountain weather summer winter morning kitchen butter sugar flour onion garlic chicken potato
breakfast dinner coffee budget salary invoice contract interview manager office colleague deadline
report spreadsheet column row table query index database server container network request response
header token session cache thread process memory function class method variable parameter argument
exception compiler library package version branch commit feature bug test pipeline cluster queue
worker message topic schema field pattern loop array vector matrix gradient layer neuron dataset
label accuracy variance average median probability equation theorem proof integral derivative
triangle circle energy force velocity temperature pressure molecule protein enzyme cell virus
vaccine patient doctor symptom headache muscle exercise posture sleep habit emotion anxiety
friendship family daughter grandfather neighbour wedding birthday present camera lens portrait
painting melody guitar rhythm poem novel character dialogue dragon castle kingdom empire revolution
century treaty election parliament economy inflation interest mortgage insurance policy lawyer
court evidence licence copyright privacy password certificate keyboard screen battery engine
bicycle railway harbour island forest desert volcano planet satellite telescope galaxy
""".split()

EN_VERBS = """
use need want make find give take think know help work keep show explain write read change add
remove create build run start stop check compare choose measure improve reduce increase update
replace return call send receive store load parse sort filter group count estimate predict train
evaluate deploy monitor debug refactor configure install connect encrypt share publish translate
summarise rewrite describe discuss negotiate schedule postpone cancel arrange prepare boil roast
simmer chop stir plant water prune paint draw record perform practise rehearse memorise revise
travel explore visit book rent repair clean polish assemble stretch breathe relax reflect forgive
celebrate defend accuse inherit invest borrow
""".split()

EN_ADJECTIVES = """
good new small large long short simple clear different important possible common useful better full
early late local quick slow strong weak cheap expensive modern ancient quiet noisy warm cold dry
fresh sweet bitter gentle strict formal casual precise vague stable fragile robust flexible
parallel sequential concurrent linear random sparse dense temporary permanent public private shared
remote optional mandatory redundant consistent obsolete experimental practical creative emotional
logical financial legal medical historical political scientific seasonal regional traditional
vegetarian Italian Japanese French nervous confident curious patient generous stubborn
""".split()

EN_ADVERBS = """
also usually often really first simply only quickly carefully slowly gradually finally probably
certainly clearly directly roughly exactly automatically manually safely quietly regularly
occasionally separately eventually immediately surprisingly deliberately
""".split()

EN_DETERMINERS = """
the a this your every one some that our each no my another their
""".split()
EN_PREPOSITIONS = """
of in for with on from about under without through before after against between beyond
""".split()
EN_MODALS = """
can; will; should; may; must; could; might; would; cannot; rarely; helps to; has to; seems to
""".strip().split("; ")
EN_LINKS = """
and; but; while; because; so; although; unless; whereas; which is why; until; as if; even though
""".strip().split("; ")

EN_SENTENCES = """
{t} {a} {n} {r} {t} {n} {m} {v} {t} {n}, {l} {t} {n} {m} {d} {v} {r} {t} {a} {n}.
{d}, {t} {n} {m} {v} {r} {t} {a} {n} {l} {t} {a} {n} {m} {v} {t} {n}.
{n} {r} {n}, {a} {n} {r} {t} {n}, {l} {t} {n} {m} {v} {r} {num} {n}.
{name} {m} {v} {t} {a} {n} {r} {p} {l} {t} {n} {r} {t} {n} {m} {d} {v} it.
{v} {t} {n}, {v} {t} {a} {n} {r} {t} {n}, {l} {v} {t} {n} {r} {year}.
{t} {n} {m} {v}, {l} {t} {a} and {a} {n} {r} {t} {n} {m} {v} {t} {n} {r} {name}.
{r} {t} {n}, {t} {n} {r} {t} {a} {n} {m} not {v} {t} {n} {l} {t} {n} {m} {v}.
{l} {t} {n} {m} {d} {v} {t} {n}, {t} {a} {n} {m} {v} {n} {r} {a} {n}.
{a} {n}, {a} {n}, {n}: {t} {n} {m} {v} {t} {n} {r} {p}, {l} {name} {m} {v} {t} {n}.
The {n} is {a}, so you can {d} {v} the {n} before you {v} the {n}.
If you {v} the {n}, the {n} will {d} {v} a {a} {n}.
You {d} {v} a {n} when the {a} {n} and the {n} do not agree.
There are {num} ways to {v} a {a} {n}, and each has its price.
In {p}, the {n} of {name} was {d} {a}.
{name} wants to {v} the {n} without losing the {a} {n}.
A {a} {n} makes it easier to {v} each {n} {d}.
I would {v} the {n} first and leave the {n} for later.
That depends on the {n}: a {a} {n} needs about {num} minutes, a {a} one twice as long.
To {v} the {n}, {v} the {n} and then {v} whatever is left of the {n}.
Because the {n} is {a}, most people {d} {v} it with a {n}.
It costs roughly {num} euros, including the {n} and the {a} {n}.
Remember that a {n} can {v} another {n} only while the {n} stays {a}.
Between {year} and {year} the {n} changed {d}, mostly because of the {a} {n}.
What matters here is not the {n} but how {d} you {v} the {n}.
Try to {v} it once with `{id}` and once without, and {v} the two.
The call to `{id}` returns {num}, which means that the {n} was never {a}.
Set `{id}` to {num} and {v} the {n} again.
See {url} for a {a} example of the {n}.
Both {name} and {name} {v} the {n}, yet neither finds it {a}.
""".strip().splitlines()

EN_QUESTIONS = """
How do I {v} a {n} that is too {a}?
Can you {v} this {n} for me? It should be {a} and not longer than {num} words.
My {n} does not {v} the {n} any more. What should I check first?
What is the difference between a {a} {n} and a {a} {n}?
Please write a {a} letter to {name} about the {n} in {p}.
I have {num} days in {p}. Which {n} should I {v}, and which {n} is {d} worth it?
Why does `{id}` return {num} when the {n} is {a}?
Give me {num} ideas for a {a} {n}, please.
ok, and how would you {v} the {n} instead?
Thanks! Now {v} it again, but with a more {a} {n}.
I read {url} and still do not understand why the {n} is {a}.
""".strip().splitlines()

EN_HEADINGS = (
    "{a} {n}",
    "Step {num}: {v} the {n}",
    "Why the {n} matters",
    "Summary",
    "What to {v} next",
    "The {n}",
)

ZH_NOUNS = """
问题 时间 方法 数据 系统 内容 用户 工作 公司 文章 项目 方案 功能 结果 代码 学生 老师 孩子 家庭 朋友
城市 天气 早餐 晚饭 周末 旅行 酒店 机票 景点 博物馆 预算 价格 市场 客户 合同 会议 经理 同事 简历
面试 工资 发票 报告 表格 图片 标题 段落 句子 语法 单词 作文 小说 诗歌 人物 情节 对话 音乐 旋律 吉他
绘画 摄影 镜头 电影 导演 历史 王朝 皇帝 战争 文化 传统 节日 风俗 哲学 心理 情绪 压力 睡眠 习惯 运动
肌肉 饮食 蔬菜 鸡蛋 土豆 酱油 白糖 火锅 面条 米饭 豆腐 医生 症状 头痛 药物 疫苗 细胞 蛋白质 分子
能量 温度 压强 速度 公式 定理 证明 概率 方差 平均值 矩阵 向量 梯度 模型 参数 训练集 准确率 神经网络
服务器 数据库 索引 缓存 线程 进程 内存 请求 响应 接口 消息 队列 集群 容器 日志 版本 分支 测试 异常
函数 变量 数组 循环 字段 记录 令牌 密码 证书 权限 隐私 法律 法院 证据 版权 保险 贷款 利率 通货膨胀
股票 基金 税务 政策 经济 农村 森林 沙漠 河流 海岛 火山 行星 卫星 望远镜 银河 电池 发动机 自行车
高铁 地铁 港口 手机 键盘 屏幕 生日 礼物 婚礼 邻居 祖父 女儿 宠物 花园 阳台 厨房 客厅 装修 家具 地板
颜色
""".split()

ZH_VERBS = """
可以 需要 使用 进行 提供 选择 考虑 了解 分析 解决 提高 增加 减少 保持 检查 修改 删除 添加 创建 设计
实现 测试 部署 优化 比较 计算 估计 预测 训练 评估 记录 保存 读取 发送 接收 处理 返回 调用 连接 安装
配置 升级 加密 分享 发布 翻译 总结 改写 描述 讨论 安排 准备 取消 推迟 学习 练习 复习 背诵 观察 探索
参观 预订 租用 修理 清洗 整理 组装 种植 浇水 炒 煮 炖 切碎 搅拌 拉伸 放松 反思 原谅 庆祝 辩护 继承
投资 借用 避免 支持 鼓励 影响 促进 限制 结合 区分 强调 忽略
""".split()

ZH_ADJECTIVES = """
好的 重要的 简单的 不同的 新的 常见的 主要的 具体的 完整的 合适的 清晰的 稳定的 有效的 快速的
缓慢的 便宜的 昂贵的 现代的 古老的 安静的 温暖的 寒冷的 新鲜的 清淡的 辛辣的 正式的 随意的 准确的
模糊的 灵活的 脆弱的 可靠的 并行的 临时的 永久的 公开的 私密的 共享的 远程的 可选的 多余的 一致的
过时的 实用的 有创意的 感性的 理性的 财务上的 法律上的 传统的 地方的 素食的 紧张的 自信的 好奇的
耐心的 慷慨的 固执的
""".split()

ZH_ADVERBS = """
通常 可能 首先 一般 逐渐 直接 仔细 尽量 自动 手动 最终 大约 完全 有时 往往 确实 单独 定期 立即
意外地 悄悄 反复 适当 迅速 明显
""".split()

ZH_LINKS = """
而且 但是 同时 因为 所以 虽然 除非 然而 因此 直到 好像 即使 不过 其实 于是 另外
""".split()
ZH_MODALS = """
会 能 应该 必须 也许 不能 很难 值得 正在 已经 将 没有 一直 又 还 才 就 都
""".split()
ZH_WHERE = """
在 对 从 按照 通过 关于 除了 为了 随着 根据 跟 比 向 由
""".split()
ZH_SENTENCES = """
{w}{n}的{n}{m}{v}{a}{n}，{l}{n}{m}{d}{v}{n}和{n}。
{d}{w}{n}{v}{n}，{l}{a}{n}{m}{v}{n}的{n}，{n}{m}{v}{n}。
{n}、{n}与{a}{n}{m}{v}{n}，{l}{w}{p}的{n}{d}{v}了{num}次。
{name}{m}{v}{n}，{l}{name}{w}{n}{d}{v}{a}{n}，{n}{m}{v}。
{l}{n}{m}{v}{n}，{w}{a}{n}里{v}{n}，{d}{v}{n}，再{v}{n}。
{w}{a}{n}来说，{n}{m}{v}{n}；{l}{w}{n}来说，{n}{m}{d}{v}{a}{n}。
{v}{n}，{v}{n}，{v}{a}{n}：{n}{m}{v}{year}年的{n}，{l}{n}{m}{v}{n}。
{n}{v}{n}{m}{d}{v}{n}，{l}{n}{w}{n}{v}{a}{n}。
{a}{n}{m}{v}{n}吗？{l}{n}{m}{v}，{w}{n}{v}{a}{n}，{n}{d}{v}{n}。
{n}是{a}，所以在{v}{n}之前，应该{d}{v}{n}。
如果你{v}{n}，那么{n}会{d}{v}{a}{n}。
当{n}与{n}不一致时，{d}先{v}{a}{n}。
要{v}{n}，一共有{num}种办法，每一种都有自己的代价。
在{p}，{name}的{n}{d}是{a}。
{name}希望{v}{n}，同时不影响{a}{n}。
{a}{n}能让我们更容易{v}{n}。
我建议先{v}{n}，再{v}{n}。
这取决于{n}：{a}{n}大概需要{num}分钟，{a}则要两倍的时间。
由于{n}比较特殊，大多数人{d}用{n}来{v}它。
总费用约{num}元，其中包括{n}和{a}{n}。
请记住，只有在{n}保持不变时，{n}才能{v}{n}。
从{year}年到{year}年，{n}{d}发生了变化，主要原因是{a}{n}。
关键不在于{n}，而在于你怎样{d}{v}{n}。
可以用 `{id}` 试一次，再去掉它试一次，然后{v}两者的{n}。
调用 `{id}` 返回了 {num}，说明{n}并没有被{v}。
把 `{id}` 设为 {num}，然后重新{v}{n}。
更多{a}例子可以参考 {url} 。
{name}和{name}都在{v}{n}，但两人都觉得{n}不够好。
""".strip().splitlines()

ZH_QUESTIONS = """
怎样{v}{a}{n}？
请帮我{v}这个{n}，要求是{a}，不超过{num}字。
我的{n}突然不能{v}{n}了，应该先检查什么？
{a}{n}和{a}{n}有什么区别？
请给{name}写一封关于{p}{n}的信，语气要{a}。
我在{p}有{num}天时间，哪些{n}值得{v}？
为什么{n}是{a}时，`{id}` 会返回 {num}？
给我{num}个关于{n}的点子。
好的，那如果换成{n}，该怎么{v}？
谢谢！请再{v}一遍，{n}要更{a}一些。
我看了 {url} ，还是不明白{n}为什么是{a}。
""".strip().splitlines()

ZH_HEADINGS = ("{a}{n}", "第{num}步：{v}{n}", "为什么要重视{n}", "总结", "接下来可以{v}什么", "{n}")

GIVEN_NAMES = """
Anna Ben Carla Daniel Elif Farid Grace Hugo Ines Jonas Keiko Lukas Mina Nadia Oscar Priya Quentin
Rosa Samir Tara Umar Vera Wendy Yusuf Zoe
""".split()
SURNAMES = """
Abel Berg Costa Dunn Engel Fofana Gruber Haas Ito Jensen Khan Lopez Marin Novak Okafor Petit Ricci
Silva
""".split()
ZH_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡林郭何高罗郑梁谢宋唐许邓冯韩曹"
ZH_GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华文玉建国春梅红志雪晨宇浩然子涵欣怡梓轩雨"
    "泽思远佳琪诗语嘉豪"
)
PLACES = """
Lisbon Kyoto Oslo Prague Hanoi Lima Cairo Ghent Turin Bergen Porto Quito Tunis Riga Seville Malmo
""".split()
ZH_PLACES = """
北京 上海 成都 杭州 西安 广州 苏州 厦门 重庆 南京 青岛 昆明 哈尔滨 桂林 长沙 敦煌
""".split()

# Pairs of these make the rarer words: a Chinese text uses far more than a list of words can hold.
ZH_CHARACTERS = (
    "天地山水火木金土风雨雷电云雪霜日月星光影春夏秋冬东西南北上下左右前后内外远近高低长短宽窄"
    "厚薄轻重快慢新旧红黄蓝绿白黑青紫甜苦酸咸香茶酒饭菜汤果瓜豆米麦鱼虾鸟马牛羊猫狗虫花草树林"
    "石沙海江湖河桥路车船门窗墙灯床桌椅笔纸书画琴棋歌舞诗词剧声音色形体手足头眼耳口心血骨皮衣"
    "帽鞋布线针刀剑弓箭旗鼓钟铃盘杯碗瓶箱包袋伞镜钱币银官民兵将士工农商医师徒友客主父母兄弟姐"
    "妹夫妻儿孙男女老少古今早晚年岁时刻分秒生死病痛喜怒哀乐爱恨思念梦想"
)

IDENTIFIER_PARTS = """
get set user item list data file name index count load save parse build make find check update
token cache query row path key value node tree page size total next last start end time date order
price state event handler client session
""".split()

SYLLABLES = """
ba bel cor dan dor el fen gar hal ion jor kal lem mar nor ol pel quin ras sel tor ul van wen xan
yor zel tra bri cho dru fla gre kli plo ska stu thor vex
""".split()

SYSTEM_PROMPTS = (
    "You are a patient assistant. Answer in the language of the question; say if you do not know.",
    "You are an experienced programmer. Show short, complete examples and explain your reasons.",
    "你是一位耐心的助手。请用简体中文回答，条理清楚，不确定的地方请直接说明。",
    "你是一名资深编辑。请保留原意，改正语病，让文字简洁自然，并在最后列出主要改动。",
    "你现在扮演一位旅行顾问。根据预算、季节和同行的人安排每天的行程，并提醒可能的风险。",
    "Act as a strict but friendly language teacher: correct every mistake, then ask a question.",
)

FONTS = (
    """
Arial; Arial Black; Calibri; Cambria; Comic Sans MS; Consolas; Courier New; Georgia; Helvetica
Impact; Lucida Console; Menlo; Monaco; Microsoft YaHei; Noto Sans CJK SC; PingFang SC; Roboto
Segoe UI; SimHei; SimSun; Source Han Sans; Tahoma; Times New Roman; Trebuchet MS; Ubuntu; Verdana
""".strip()
    .replace("\n", "; ")
    .split("; ")
)
