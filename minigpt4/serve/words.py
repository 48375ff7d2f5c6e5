"""What the demo says: Vietnamese first, English after it."""

from __future__ import annotations

from typing import NamedTuple

from minigpt4.conversation.prompts import (
    TAG_CAPTION,
    TAG_DETECTION,
    TAG_GROUNDING,
    TAG_IDENTIFY,
    TAG_REFER,
    TAG_VQA,
)


class Task(NamedTuple):
    """A task tag as the demo offers it.

    Attributes:
        tag: What is put before the text; empty for none.
        label: On its button.
        hint: Shown in the empty text box.
        default: What an empty text asks, if the task needs no words of the user.
    """

    tag: str
    label: str
    hint: str
    default: str = ""


TASKS = (
    Task(
        TAG_VQA,
        f"{TAG_VQA}\nHỏi đáp",
        "Hỏi về ảnh, ví dụ: màu của chiếc bình là gì · Ask about the picture",
    ),
    Task(
        TAG_DETECTION,
        f"{TAG_DETECTION}\nPhát hiện",
        "Cần tìm gì trong ảnh, ví dụ: con mèo · What should be found",
    ),
    Task(
        TAG_CAPTION,
        f"{TAG_CAPTION}\nMô tả",
        "Để trống cũng được · May be left empty",
        "describe this picture in one sentence.",
    ),
    Task(
        TAG_GROUNDING,
        f"{TAG_GROUNDING}\nMô tả vị trí",
        "Để trống cũng được · May be left empty",
        "describe this picture and say where each thing is.",
    ),
    Task(
        TAG_REFER,
        f"{TAG_REFER}\nĐịnh vị",
        "Vật cần định vị, ví dụ: con mèo bên trái · What to locate",
    ),
    Task(
        TAG_IDENTIFY,
        f"{TAG_IDENTIFY}\nNhận dạng",
        "Bấm hai góc của vùng trong ảnh · Click two corners of the region in the picture",
    ),
    Task("", "Không thẻ\nNone", "Trò chuyện tự do · Free conversation"),
)

HINTS = {task.tag: task.hint for task in TASKS}
DEFAULTS = {task.tag: task.default for task in TASKS}

TITLE = "MiniGPT-v2"
SUBTITLE = "Hỏi đáp trên ảnh và tìm lỗi sản phẩm"
SUBTITLE_EN = "Visual question answering and defect detection"

PICTURE = "Ảnh · Picture"
DROP = "Kéo ảnh vào đây hoặc bấm để chọn\nDrop a picture here, or click to choose one"
CHAT = "Hội thoại · Conversation"
TASK = "Nhiệm vụ · Task"
QUESTION = "Câu hỏi · Question"
SEND = "Gửi\nSend"
STOP = "Dừng\nStop"
CHECK = "Kiểm tra lỗi sản phẩm\nCheck for defects"
NEW_CHAT = "Hội thoại mới\nNew chat"
NEW_PICTURE = "Ảnh mới\nNew picture"
EXAMPLES = "Ví dụ, bấm để thử · Examples, click to try"
SETTINGS = "Thông số · Settings"
TEMPERATURE = "Nhiệt độ · Temperature"
TEMPERATURE_INFO = (
    "0: luôn chọn từ có xác suất cao nhất · 0: always the likeliest word (used with 1 beam)"
)
TOKENS = "Độ dài tối đa (token) · Longest answer in tokens"
BEAMS = "Số nhánh tìm kiếm · Beams"
BEAMS_INFO = (
    "Lớn hơn 1 thì câu trả lời hiện một lần · Above 1, the answer appears at once, not word by word"
)
REMEMBER = "Nhớ các lượt trước cả khi có thẻ · Remember earlier turns with a tag, too"
REMEMBER_INFO = (
    "Tắt: mỗi câu hỏi có thẻ được trả lời riêng, như khi huấn luyện ViVQA và MVTec · Off: each "
    "question with a tag is answered by itself, as in the training on ViVQA and MVTec"
)

WELCOME = """\
**1.** Tải ảnh lên · *upload a picture*
**2.** Chọn nhiệm vụ · *choose a task*
**3.** Đặt câu hỏi · *ask*
"""

NO_PICTURE = "Chưa có ảnh: hãy tải ảnh lên trước.\nThere is no picture yet: upload one first."
EMPTY = (
    "Câu hỏi đang trống: hãy viết điều bạn muốn biết.\n"
    "The question is empty: write what you want to know."
)
BROKEN_PICTURE = (
    "Không đọc được ảnh này; hãy chọn ảnh khác.\nThis picture cannot be read; choose another one."
)
OUT_OF_MEMORY = (
    "Không đủ bộ nhớ cho câu trả lời này: hãy giảm số nhánh hoặc độ dài.\n"
    "Out of memory: use fewer beams or a shorter answer."
)
DEFECT = (
    "Lỗi trong chương trình; chi tiết ở cửa sổ dòng lệnh.\n"
    "Something went wrong in the program; the terminal has the details."
)
WAITING = "…"
NO_ANSWER = "(không có câu trả lời · empty answer)"
STOPPED = "(đã dừng · stopped)"


def bad_boxes(count: int) -> str:
    """A note on boxes of an answer that cannot be drawn."""
    return f"{count} khung không vẽ được · {count} box(es) could not be drawn"
